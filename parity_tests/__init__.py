"""The proof that the port and the reference compute the same.

The folders: `ladder`, the proof itself; `traps`, known mistakes; `check`, the check of a user's
port; `measurements`; and `tests`. For the tests of a project of one's own:
`from parity_tests import assert_same_training`.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__, submod_attrs={"check.models.examination": ["assert_same_training"]}
)
