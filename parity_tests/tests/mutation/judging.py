"""Judging mutants: each runs the tests of its module in a process forked from one that waits.

What the project does not own (pytest, NumPy, PyTorch) is imported once, before the fork, and the
project itself after it, so that every import of the mutated module finds the mutant. Nothing is
written into the checkout. TensorFlow cannot be forked: no judge may need it.
"""

import gc
import importlib.util
import os
import signal
import sys
import time
import traceback
from collections.abc import Sequence
from importlib.machinery import ModuleSpec, SourceFileLoader
from pathlib import Path
from types import CodeType, ModuleType

import cyclopts  # noqa: F401 (imported before the fork, as are the next)
import hypothesis  # noqa: F401
import numpy as np  # noqa: F401
import pytest
import safetensors.numpy  # noqa: F401

ROOT = Path(__file__).parents[3]
# No plugin, no cache, no shuffle: the first tests are those that kill most.
PLAIN = ["-o", "addopts=", "-p", "no:cacheprovider", "-p", "no:unraisableexception", "-xq"]


def get_ready(path: Path) -> None:
    """Import what the tests of a module need and the project does not own."""
    os.environ["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"
    if path.parts[0] == "torch_port" or path.stem in ("diagnosis", "explain"):
        for module in ("safetensors.torch", "torch._dynamo", "torch.optim"):
            importlib.import_module(module)
    if path.stem in ("units", "moves", "recipes"):
        os.environ["KERAS_BACKEND"] = "torch"
        importlib.import_module("keras")
    gc.collect()
    gc.freeze()  # a collection in the child would copy all that was imported


class Planted(SourceFileLoader):
    """Imports one module of the project from another source than that of its file."""

    def __init__(self, path: Path, source: str) -> None:
        name = ".".join(path.with_suffix("").parts)
        super().__init__(name, str(ROOT / path))
        self.source = source

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Return the specification of the one module."""
        if fullname == "tensorflow":  # Keras asks for it on any backend
            raise ImportError("it cannot be forked, and no judge may need it")
        if fullname != self.name:
            return None
        return importlib.util.spec_from_file_location(fullname, self.path, loader=self)

    def get_code(self, fullname: str) -> CodeType:
        """Return the code of the other source."""
        return compile(self.source, self.path, "exec", dont_inherit=True)


def judge(path: Path, source: str, tests: Sequence[str], seconds: float | None) -> int:
    """Run tests on a module with another source, and return the exit status.

    Args:
        path: Of the module, from the top of the checkout.
        source: In its place.
        tests: Arguments of pytest.
        seconds: After which the process is ended by SIGALRM; None for as long as it takes.

    Returns:
        That of pytest: 0 if all tests passed; below 0, the signal that ended the process.
    """
    if pid := os.fork():
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    try:
        signal.setitimer(signal.ITIMER_REAL, seconds or 0)
        silence = os.open(os.devnull, os.O_RDWR)
        for stream in range(3):
            os.dup2(silence, stream)
        sys.meta_path.insert(0, Planted(path, source))
        os._exit(int(pytest.main([*PLAIN, *tests])))
    except BaseException:  # noqa: BLE001 (it is shown, and ends the process)
        traceback.print_exc()
    finally:  # whatever was raised: the code of the parent is not for this process
        os._exit(70)


def timed(path: Path, tests: Sequence[str]) -> float:
    """Return how many seconds the tests of a module take, which pass on it as it is.

    Raises:
        ValueError: If they fail.
    """
    get_ready(path)
    start = time.monotonic()
    status = judge(path, (ROOT / path).read_text(), tests, None)
    if status:
        raise ValueError(f"the tests of {path} end with status {status} before any change to it")
    return time.monotonic() - start
