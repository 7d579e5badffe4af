"""Mistakes that a port may have made, as edits of the Keras model that it was made from.

An edit changes what a layer, a loss or an optimizer holds while its context lasts. Everything
runs eagerly, so the change takes effect at once, also in a subclassed or shared layer.
"""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any
from unittest import mock


@dataclass(frozen=True)
class Edit:
    """A mistake that can be made in a model.

    Attributes:
        where: The layer, "loss", "optimizer" or "model".
        mistake: What is wrong there, such as "epsilon is 1e-05, not 0.001".
        rung: The first on which it may show.
        plant: Returns a context in which it is made.
        of_framework: Whether PyTorch's own layer does so, and has no option against it.
        takes: What it changes in the optimizer, where it does not hold another value.
    """

    where: str
    mistake: str
    rung: str
    plant: Callable[[], AbstractContextManager[Any]]
    of_framework: bool = False
    takes: str = ""

    @property
    def name(self) -> str:
        """The place and the mistake."""
        return f"{self.where}: {self.mistake}"

    @property
    def places(self) -> set[tuple[int, str]]:
        """What it changes: no two mistakes can be made in one place."""
        if getattr(self.plant, "func", None) is holding:
            return {(id(self.plant.args[0]), name) for name in self.plant.keywords}  # type: ignore[attr-defined]
        return {(0, self.takes or self.name)}

    def said(self) -> dict[str, Any]:
        """Return what another process has to know of it."""
        return {
            "name": self.name,
            "where": self.where,
            "rung": self.rung,
            "of framework": self.of_framework,
        }


@contextmanager
def holding(item: Any, **values: Any) -> Iterator[None]:
    """Let an object hold other values for a while."""
    with ExitStack() as stack:
        for name, value in values.items():
            stack.enter_context(mock.patch.object(item, name, value))
        yield


def remade(kind: Any, right: Any, **values: Any) -> Any:
    """Return an optimizer of a class as another was before its first step, but for some values."""
    made = kind.from_config({**right.get_config(), **values})
    for name, value in vars(right).items():  # which no configuration holds
        if name.startswith("_exclude_from_weight_decay"):
            setattr(made, name, value)
    return made


def setting(layer: Any, rung: str, said: str = "", **values: Any) -> Edit:
    """Return an edit that gives a layer another value of what it is configured with."""
    ((name, value),) = values.items()
    right = getattr(layer, name)
    shown = right if isinstance(right, int | float | str | tuple) else "as it is"
    mistake = said or f"{name} is {value}, not {shown}"
    return Edit(layer.name, mistake, rung, partial(holding, layer, **values))


def calling(
    layer: Any, rung: str, mistake: str, call: Callable[..., Any], of_framework: bool = False
) -> Edit:
    """Return an edit in which a layer computes otherwise."""
    return Edit(layer.name, mistake, rung, partial(holding, layer, call=call), of_framework)


def applicable(model: Any) -> list[Edit]:
    """Return the edits of a compiled model, those of its layers in their order first."""
    from parity_tests.check.keras import layer_edits, loss_edits, optimizer_edits

    found = [*layer_edits.of(model), *loss_edits.of(model), *optimizer_edits.of(model)]
    return list({edit.name: edit for edit in found}.values())
