"""The book's first network, trained from scratch.

The public names are those of `__init__.pyi`. Each is imported when it is first used,
so importing this package imports no framework.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
