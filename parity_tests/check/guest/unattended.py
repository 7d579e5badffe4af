"""What a program expects that nobody sits before: no screen, no questions, no downloads."""

import builtins
import functools
import inspect
import io
import os
import random
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import torch

from parity_tests.check.messages import encode
from parity_tests.check.samples import PIXELS
from torch_port.mnist import paths, verify


def prepare(path: Path, data: str, double: bool) -> None:
    """Make what a program finds.

    Args:
        path: Of the program.
        data: Holds MNIST in MNIST/raw.
        double: Whether float32 stands for float64.
    """
    null = os.open(os.devnull, os.O_RDWR)
    for descriptor in (0, 1, 2):
        os.dup2(null, descriptor)
    sys.stdin = open(os.devnull)  # noqa: SIM115 (until the process ends)
    sys.stdout, sys.stderr = io.StringIO(), io.StringIO()
    builtins.input = lambda prompt="": ""
    torch.set_num_threads(1)  # a process that is forked must not have a pool of threads
    vars(torch)["set_num_threads"] = lambda number: None
    for kind in (torch.Tensor, torch.nn.Module):  # there is no GPU
        setattr(kind, "cuda", lambda self, *arguments, **options: self)  # noqa: B010 (as below)
    _load_in_process()
    if double:
        torch.set_default_dtype(torch.float64)
        vars(torch)["set_default_dtype"] = lambda dtype: None
    if "torchvision" in path.read_text("utf-8", errors="ignore"):
        _lend_mnist(data)
    sys.argv = [str(path)]
    sys.path.insert(0, str(path.parent))


def seed(seed: int) -> None:
    random.seed(seed)
    np.random.seed(seed)  # noqa: NPY002 (theirs may be the old one)
    torch.manual_seed(seed)


def _load_in_process() -> None:
    """Let loaders of data load in this process, where it is seen."""
    right = torch.utils.data.DataLoader.__init__
    signature = inspect.signature(right)
    alone = {"num_workers": 0, "prefetch_factor": None, "persistent_workers": False}

    @functools.wraps(right)
    def load(*arguments: Any, **options: Any) -> None:
        bound = signature.bind(*arguments, **options)
        bound.arguments |= {**alone, "multiprocessing_context": None}
        right(*bound.args, **bound.kwargs)

    setattr(torch.utils.data.DataLoader, "__init__", load)  # noqa: B010 (mypy refuses the other)


def _lend_mnist(data: str) -> None:
    """Let torchvision find MNIST where it is, in place of a download."""
    kind = import_module("torchvision.datasets").MNIST
    right = kind.__init__

    @functools.wraps(right)
    def at_home(self: Any, root: Any, *arguments: Any, **options: Any) -> None:
        away = type(self) is kind and not Path(root, "MNIST", "raw").exists()
        right(self, data if away else root, *arguments, **options)

    kind.__init__ = at_home


def mnist(folder: str) -> bytes:
    """Return a message with MNIST, as bytes, which whoever asks reads without torch."""
    try:
        verify(Path(folder, "MNIST", "raw"))
    except (OSError, ValueError) as error:
        return encode({"missing": str(error)}, {})
    # An IDX header is 4 bytes, and 4 for each dimension.
    train, labels, test, of_test = (
        np.fromfile(path, np.uint8, offset=16 if "images" in path.name else 8)
        for path in paths(folder)
    )
    arrays = {"training images": train.reshape(-1, PIXELS), "training labels": labels}
    arrays |= {"test images": test.reshape(-1, PIXELS), "test labels": of_test}
    return encode(
        {}, {name: a if "images" in name else a.astype("int64") for name, a in arrays.items()}
    )
