"""The calls that a program makes while it computes a step: noted, and made otherwise.

A place is where the text of the program makes a call: its file, its lines and its columns. What a
module of PyTorch calls within itself has none; there the module is the place.
"""

import inspect
import sys
from collections.abc import Iterator, Mapping, Sequence
from functools import cache, partial, wraps
from pathlib import Path
from types import CodeType
from typing import Any

import torch
from torch import nn
from torch.optim.optimizer import (
    register_optimizer_step_post_hook,
    register_optimizer_step_pre_hook,
)
from torch.overrides import TorchFunctionMode

from parity_tests.check.guest.changes import Change, arguments, changed, is_plain
from parity_tests.check.guest.tensors import tensors

Place = tuple[Any, ...]
OF_TORCH = str(Path(torch.__file__).parent)
_WRAPPERS = "nn/functional nn/modules/module functional overrides _tensor _jit_internal"
WRAPPERS = {f"{OF_TORCH}/{name}.py" for name in _WRAPPERS.split()}
"""Files of PyTorch that stand between a call and what it is a call of."""
OURS = str(Path(__file__).parent)
THROUGH = {"__torch_function__", "call", "_call", "call_module", "evaluate", "set_mode", "watched"}
THROUGH |= {
    "clip",
    "call_function",
    "make_module",
    "make_optimizer",
    "_before_step",
    "<lambda>",
    "changed",
}
"""What of this folder a call of the program goes through."""
MOST = 3000
"""Calls that are noted."""


@cache
def _position(code: CodeType, instruction: int) -> tuple[int, int, int, int]:
    """Return the first line and column of what is being executed, and those of its end."""
    line, last, column, end = list(code.co_positions())[instruction // 2]
    return line or 0, column or 0, last or 0, end or 0


def place_of(path: str, *, through: bool = False, of: Any = None) -> Place | None:
    """Return where a program makes the call that is being made; None if PyTorch makes it.

    Args:
        path: Of the program; a file in its folder is a part of it.
        through: Whether PyTorch may make it, for what the program calls.
        of: What is being made, whose own methods are passed over.
    """
    folder = f"{Path(path).parent}/"
    frame = sys._getframe(1)
    while frame is not None:
        name = frame.f_code.co_filename
        theirs = name.startswith(folder) and not {"site-packages", "packages"} & {*name.split("/")}
        if theirs and (of is None or frame.f_locals.get("self") is not of):
            return (name.removeprefix(folder), *_position(frame.f_code, frame.f_lasti))
        if name.startswith(OF_TORCH) and name not in WRAPPERS and not through:
            return None
        if name.startswith(OURS) and frame.f_code.co_name not in THROUGH:
            return None
        frame = frame.f_back  # type: ignore[assignment]
    return None


def _own(module: nn.Module) -> list[type]:
    """Return the classes of a module that are more than a module."""
    bare = (nn.Module, nn.ModuleList, nn.ModuleDict, object)
    return [kind for kind in type(module).__mro__ if kind not in bare]


class AgainError(BaseException):
    """The call of a module has to be made again, since what it calls is changed."""


class Makings:
    """Notes where modules and optimizers are made, from before the program is run.

    Args:
        path: Of the program.

    Attributes:
        places: By the identity of what was made.
        optimizers: Of torch, in the order in which they were made.
        calls: Sees each call of a module; None in a process that is asked for none.
        inside: Whether a module is being called.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        self.places: dict[int, Place | None] = {}
        self.optimizers: list[torch.optim.Optimizer] = []
        self.calls: Calls | None = None
        self.inside = False
        self.call = nn.Module.__call__
        self.on_optimizer: Any = lambda optimizer: None
        self.before_step: Any = lambda optimizer: None
        self.after_step: Any = lambda optimizer: None
        of_module, of_optimizer = nn.Module.__init__, torch.optim.Optimizer.__init__

        def make_module(module: Any, *args: Any, **kwargs: Any) -> None:
            of_module(module, *args, **kwargs)
            if any(kind.__module__.startswith("torch.nn.modules.") for kind in _own(module)):
                self.places[id(module)] = place_of(path, through=True, of=module)

        def make_optimizer(optimizer: Any, *args: Any, **kwargs: Any) -> None:
            of_optimizer(optimizer, *args, **kwargs)
            self.places[id(optimizer)] = place_of(path, through=True, of=optimizer)
            self.optimizers.append(optimizer)
            self.on_optimizer(optimizer)

        def call(module: nn.Module, *args: Any, **kwargs: Any) -> Any:
            return self._call(module, args, kwargs)

        nn.Module.__init__, nn.Module.__call__ = make_module, call  # type: ignore[assignment]
        vars(torch.optim)["Optimizer"].__init__ = make_optimizer
        self._watch_clipping()
        register_optimizer_step_pre_hook(lambda optimizer, *_: self.before_step(optimizer))
        register_optimizer_step_post_hook(lambda optimizer, *_: self.after_step(optimizer))

    def _watch_clipping(self) -> None:
        """Let what clips gradients be a call like those of torch, which makes many calls."""
        for name in ("clip_grad_norm_", "clip_grad_value_"):
            right = getattr(nn.utils, name)

            @wraps(right)
            def clip(*args: Any, _right: Any = right, **kwargs: Any) -> Any:
                if self.calls is None:
                    return _right(*args, **kwargs)
                return self.calls.call_function(_right, args, kwargs)

            for holder in (nn.utils, nn.utils.clip_grad):
                setattr(holder, name, clip)

    def see(self, root: nn.Module | None, changes: Sequence[Change]) -> None:
        """See the calls from now on, until this process ends, and change some."""
        self.calls = Calls(self, root, changes)
        self.calls.begin()

    def _call(self, module: nn.Module, args: Any, kwargs: Any) -> Any:
        if self.calls is not None:
            return self.calls.call_module(self.call, module, args, kwargs)
        if self.inside:
            return self.call(module, *args, **kwargs)
        self.inside = True
        try:
            return self.call(module, *args, **kwargs)
        except AgainError:
            return self._call(module, args, kwargs)
        finally:
            self.inside = False

    def require_again(self) -> None:
        """Have the call that is being made be made again, if its calls are changed now.

        Raises:
            AgainError: If a module is being called.
        """
        if self.calls is not None and self.inside:
            raise AgainError


class Calls(TorchFunctionMode):
    """Sees the calls of a program from now on, and makes some of them otherwise.

    Args:
        makings: Where its modules and optimizers were made.
        root: The module that it trains; None if that is not known.
        changes: Each with the "at" that it is made at: a call's place and the name of what is
            called, the path of a module, or where an optimizer was made.

    Attributes:
        noted: Of each call "what" is called, its "at", its plain "arguments" and the "order" of
            all, the shapes that it "takes" and "returns", and of a module its "path" and where it
            was "made"; in the order in which they returned.
    """

    def __init__(self, makings: Makings, root: nn.Module | None, changes: Sequence[Change]) -> None:
        super().__init__()
        self.path, self.makings = makings.path, makings
        self.noted: list[dict[str, Any]] = []
        self.root = root
        modules = root.named_modules() if root is not None else ()
        self._names = {id(module): name for name, module in modules}
        self._changes: dict[Any, list[Change]] = {}
        for change in changes:
            at = change["at"]
            self._changes.setdefault(tuple(at) if isinstance(at, list) else at, []).append(change)

    def begin(self) -> None:
        """See what is called from now on, until this process ends."""
        calls = self

        def evaluate(module: nn.Module) -> nn.Module:
            return calls.set_mode(module)

        nn.Module.eval = evaluate  # type: ignore[assignment]
        self.makings.before_step, self.makings.after_step = self._before_step, self._after_step
        for optimizer in self.makings.optimizers:
            self._alter(optimizer)
        self.makings.on_optimizer = self._alter
        self.__enter__()  # type: ignore[no-untyped-call]

    def _alter(self, optimizer: torch.optim.Optimizer) -> None:
        """Give an optimizer other constants."""
        for change in self._of(optimizer, "group"):
            for group in optimizer.param_groups:
                group[change["by"]["name"]] = change["by"]["value"]

    def _of(self, optimizer: torch.optim.Optimizer, kind: str) -> list[Change]:
        """Return the changes of an optimizer of some kind."""
        changes = self._changes.get(self.makings.places[id(optimizer)], ())
        return [change for change in changes if change["kind"] == kind]

    def _before_step(self, optimizer: torch.optim.Optimizer) -> None:
        place = place_of(self.path, through=True)
        made = self.makings.places[id(optimizer)]
        if place is not None:
            self._note("step", (*place, "step"), {}, (), None, optimizer=made, order=[])
        weights = [w for group in optimizer.param_groups for w in group["params"]]
        for change in self._of(optimizer, "clip"):
            clip, limit = getattr(nn.utils, change["by"]["name"]), change["by"]["value"]
            for several in [[w] for w in weights] if change["by"]["each"] else [weights]:
                clip(several, limit)

    def _after_step(self, optimizer: torch.optim.Optimizer) -> None:
        if self._of(optimizer, "zero"):
            optimizer.zero_grad()

    def set_mode(self, module: nn.Module) -> nn.Module:
        """Set a module to inference, or to training in its place."""
        place = place_of(self.path)
        at = (*place, "eval") if place else None
        if at is not None:
            self._note("eval", at, {}, (), None, order=[])
        return module.train(bool(self._changes.get(at)))

    def __torch_function__(
        self, function: Any, types: Any, args: Sequence[Any] = (), kwargs: Any = None
    ) -> Any:
        """Call a function as it is to be called."""
        return self.call_function(function, args, kwargs or {})

    def call_function(self, function: Any, args: Any, kwargs: Any) -> Any:
        """Call a function as it is to be called."""
        name = getattr(function, "__name__", "")
        if name == "__get__" or (place := place_of(self.path)) is None:
            return function(*args, **kwargs)
        at = (*place, name)
        own = self._changes.get(at, ())
        plain = [change for change in own if change["kind"] != "penalty"]
        made = self._penalized(changed(function, plain)(*args, **kwargs), own)
        held = arguments(function, args, kwargs)
        self._note(name, at, held, (args, kwargs), made, order=_order(function))
        return made

    def call_module(self, right: Any, module: nn.Module, args: Any, kwargs: Any) -> Any:
        """Call a module as it is to be called."""
        path = self._names.get(id(module))
        place = place_of(self.path)
        at = (*place, type(module).__name__) if place else None
        made_at = self.makings.places.get(id(module))
        own: list[Change] = []
        made_so = (*made_at, type(module).__name__) if made_at else None
        for key in filter(None, (path, made_so, at)):
            own += self._changes.get(key, ())
        for change in own:
            if change["kind"] == "attribute":
                setattr(module, change["by"]["name"], change["by"]["value"])
        calls = [change for change in own if change["kind"] != "attribute"]
        plain = [change for change in calls if change["kind"] != "penalty"]
        made = self._penalized(changed(partial(right, module), plain)(*args, **kwargs), calls)
        shown = {"path": path, "made": made_at, "of torch": id(module) in self.makings.places}
        shown["order"] = _order(type(module).__init__)[1:]
        self._note(type(module).__name__, at, _held(module), (args, kwargs), made, **shown)
        return made

    def _penalized(self, loss: Any, changes: Sequence[Change]) -> Any:
        """Return a loss with penalties on weights added."""
        weights = dict(self.root.named_parameters()) if self.root is not None else {}
        for change in changes:
            if change["kind"] == "penalty":
                for name, factor in change["by"]["factors"].items():
                    loss = loss + factor * weights[name].square().sum()
        return loss

    def _note(
        self,
        what: str,
        at: Place | None,
        held: Mapping[str, Any],
        given: Any,
        result: Any,
        **shown: Any,
    ) -> None:
        if len(self.noted) < MOST:
            ranks = [list(t.shape) for t in tensors(given)]
            returns = [list(t.shape) for t in tensors(result)]
            said = {"what": what, "at": at, "arguments": dict(held), "takes": ranks}
            self.noted.append({**said, "returns": returns, **shown})

    def optimizers(self) -> Iterator[dict[str, Any]]:
        """Yield each optimizer of torch: its class, where it was made, its constants."""
        for optimizer in self.makings.optimizers:
            yield {
                "what": type(optimizer).__name__,
                "at": self.makings.places[id(optimizer)],
                "order": _order(type(optimizer).__init__)[1:],
                "arguments": {
                    name: value
                    for name, value in optimizer.param_groups[0].items()
                    if name != "params" and is_plain(value)
                },
            }


@cache
def _order(function: Any) -> list[str]:
    """Return the names of the arguments of a function, in their order."""
    try:
        return list(inspect.signature(function).parameters)
    except (ValueError, TypeError):  # a function of C
        return []


def _held(module: nn.Module) -> dict[str, Any]:
    """Return the plain values that a module holds."""
    hidden = ("training", "call_super_init", "dump_patches")
    return {
        name: list(value) if isinstance(value, tuple) else value
        for name, value in vars(module).items()
        if is_plain(value) and not name.startswith("_") and name not in hidden
    }
