"""What the objects of a module hold, copied, to be put back later.

A file is run once. Each question starts from what its objects held then: weights, optimizers,
counters and caches, wherever they are.
"""

import builtins
import random
import types
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any

import numpy as np
import torch

FOREIGN = {"numpy", "importlib", "logging", "parity_tests"}
"""Packages into whose objects nobody has to look; nor into those of torch beside these."""
TORCH = ("torch.nn", "torch.optim", "torch._dynamo.eval_frame")


class State:
    """A copy of what all objects hold that can be reached from some.

    Args:
        roots: Namespaces of modules, and other objects.
        own: Whether a function or a class, by the name of its module, is theirs.
    """

    def __init__(self, roots: list[Any], own: Callable[[str], bool]) -> None:
        self._own = own
        self._kept: list[Any] = []  # so that no other object gets the identity of one
        self._put_back: list[Callable[[], object]] = []
        seen = {id(vars(builtins))}
        waiting = list(roots)
        while waiting:
            item = waiting.pop()
            if id(item) not in seen:
                seen.add(id(item))
                self._kept.append(item)
                waiting.extend(self._copy(item))
        self._random = random.getstate(), np.random.get_state(), torch.get_rng_state()

    def put_back(self) -> None:
        """Give every object what it held."""
        for put_back in self._put_back:
            put_back()
        of_python, of_numpy, of_torch = self._random
        random.setstate(of_python)
        np.random.set_state(of_numpy)
        torch.set_rng_state(of_torch)

    def _copy(self, item: Any) -> Iterator[Any]:
        """Keep what an object holds, and yield what it refers to."""
        if isinstance(item, torch.Tensor):
            yield from self._copy_tensor(item)
        elif isinstance(item, np.ndarray):
            if not item.dtype.hasobject and item.flags.writeable:
                self._put_back.append(partial(np.copyto, item, item.copy()))
        elif isinstance(item, dict):
            self._put_back.append(partial(_refill, item, dict(item)))
            yield from item.values()
        elif isinstance(item, list | set | deque):
            self._put_back.append(partial(_replace, item, list(item)))
            yield from item
        elif isinstance(item, tuple | frozenset):
            yield from item
        elif isinstance(item, types.CellType):
            yield from self._copy_cell(item)
        elif isinstance(item, types.FunctionType):
            if self._own(item.__module__ or ""):
                yield from (item.__dict__, item.__defaults__, item.__kwdefaults__)
                yield from item.__closure__ or ()
        elif isinstance(item, types.MethodType):
            yield from (item.__self__, item.__func__)
        elif isinstance(item, type):
            if self._own(item.__module__):
                yield from self._copy_class(item)
        elif not isinstance(item, types.ModuleType):
            yield from self._copy_instance(item)

    def _copy_tensor(self, tensor: torch.Tensor) -> Iterator[Any]:
        if tensor.layout != torch.strided or tensor.is_inference():
            return
        if 0 in tensor.stride():  # expanded: many elements in one place, which another holds
            return
        data = tensor.detach().clone()
        grad = tensor.grad if tensor.is_leaf or tensor.retains_grad else None
        needs_grad = tensor.requires_grad

        def put_back() -> None:
            held = tensor.detach()
            if held.shape == data.shape and held.dtype == data.dtype and held.device == data.device:
                held.copy_(data)
            else:
                tensor.data = data.clone()
            if tensor.is_leaf:
                tensor.requires_grad_(needs_grad)
                tensor.grad = grad

        self._put_back.append(put_back)
        yield from (grad, getattr(tensor, "__dict__", None))

    def _copy_cell(self, cell: types.CellType) -> Iterator[Any]:
        try:
            content = cell.cell_contents
        except ValueError:  # it is empty
            return
        self._put_back.append(partial(setattr, cell, "cell_contents", content))
        yield content

    def _copy_class(self, kind: type) -> Iterator[Any]:
        held = {name: value for name, value in vars(kind).items() if not name.startswith("__")}

        def put_back() -> None:
            for name in [name for name in vars(kind) if not name.startswith("__")]:
                if name not in held:
                    delattr(kind, name)
            for name, value in held.items():
                if vars(kind).get(name) is not value:
                    setattr(kind, name, value)

        self._put_back.append(put_back)
        yield from (*held.values(), *kind.__mro__[1:])

    def _copy_instance(self, item: Any) -> Iterator[Any]:
        if isinstance(item, torch.Generator):
            self._put_back.append(partial(item.set_state, item.get_state()))
        elif isinstance(item, np.random.Generator):
            state = item.bit_generator.state
            self._put_back.append(partial(setattr, item.bit_generator, "state", state))
        elif isinstance(item, np.random.RandomState | random.Random):
            of_numpy = isinstance(item, np.random.RandomState)
            read, write = ("get_state", "set_state") if of_numpy else ("getstate", "setstate")
            self._put_back.append(partial(getattr(item, write), getattr(item, read)()))
        elif isinstance(item, partial):
            yield from (item.func, item.args, item.keywords)
        else:
            where = type(item).__module__
            torch_s = where.split(".")[0] == "torch" and not where.startswith(TORCH)
            if self._own(where) or not (torch_s or where.split(".")[0] in FOREIGN):
                yield getattr(item, "__dict__", None)


def _refill(held: dict, content: Mapping) -> None:
    for key in held.keys() - content.keys():
        del held[key]
    dict.update(held, content)  # and not the method of a Counter, which adds


def _replace(held: Any, content: list) -> None:
    held.clear()
    (held.update if isinstance(held, set) else held.extend)(content)
