"""The proof that the port and the reference compute the same.

The folders: `ladder`, the proof itself; `traps`, known mistakes; `check`, the check of a user's
port; `measurements`; and `tests`. For the tests of a project of one's own:
`from parity_tests import assert_same_training`.
"""

__all__ = ["assert_same_training"]


def __getattr__(name: str) -> object:
    """Import what is asked for, which no process of a user's file needs."""
    if name in __all__:
        from parity_tests.check.models.examination import assert_same_training

        return assert_same_training
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
