"""Which of the two packages trains: `torch_port` or `tf_reference`, and what it needs."""

import importlib
import importlib.util
from typing import Any, Literal

from parity_tests.program.messages import UserError

Framework = Literal["torch", "tf"]

PACKAGES: dict[Framework, tuple[str, str]] = {
    "torch": ("torch_port", "torch"),
    "tf": ("tf_reference", "tensorflow"),
}
"""By the name on the command line: the package, and its framework, which is an extra as well."""

FRAMEWORKS = {package: framework for framework, (package, _) in PACKAGES.items()}


class Twin:
    """One of the two packages, with its modules as attributes."""

    def __init__(self, framework: Framework) -> None:
        self.name, library = PACKAGES[framework]
        if importlib.util.find_spec(library) is None:
            raise UserError(
                f"{library} is not installed: run `pip install 'naive-parity[{library}]'`, or in "
                f"a checkout `pip install '.[{library}]'`"
            )
        try:
            self.framework = importlib.import_module(f"{self.name}.framework")
        except ImportError as error:
            raise UserError(str(error)) from error

    def __getattr__(self, module: str) -> Any:
        """Return a module of the package, which is imported when it is first used."""
        return importlib.import_module(f"{self.name}.{module}")


def installed() -> Twin:
    """Return the first of the packages whose framework is installed."""
    for framework, (_, library) in PACKAGES.items():
        if importlib.util.find_spec(library) is not None:
            return Twin(framework)
    raise UserError("neither torch nor tensorflow is installed: run `pip install '.[torch]'`")
