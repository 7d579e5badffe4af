"""Which layer of a Keras model is which module of its port."""

import difflib
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from parity_tests.check.messages import OtherLayers, UnusablePort
from parity_tests.check.models.moves import Arrays, Pairing
from parity_tests.check.models.recipes import pairing

Described = Mapping[str, Any]
EXTRA = "trajectory"
"""The rung of the mistakes that a port has more weights than its model."""
PLAIN = ("Dense", "Linear", "Conv", "Embedding", "BatchNorm", "LayerNorm")
"""Beginnings of classes whose weights leave no choice."""
NAMES = {"bias": "bias", "beta": "bias", "gamma": "weight"}
"""By the role of a weight in Keras, its name in PyTorch."""


@dataclass(frozen=True)
class ModelMapping:
    """The layers of a model and the modules of its port, in pairs.

    Attributes:
        pairings: In the order in which the layers are executed.
        how: What decided, in words.
    """

    pairings: tuple[Pairing, ...]
    how: str

    def to_port(self, weights: Mapping[str, np.ndarray]) -> Arrays:
        """Return the weights of the port, by name, given those of the model, by path."""
        return {k: a for pair in self.pairings for k, a in pair.to_port(weights).items()}

    def to_keras(self, arrays: Mapping[str, np.ndarray], gradient: bool = False) -> Arrays:
        """Return what there is of the port, by the paths of the model's weights."""
        return {k: a for p in self.pairings for k, a in p.to_keras(arrays, gradient).items()}

    def rows(self) -> list[dict[str, str]]:
        """Return for each weight the model's name, the port's, and what is done to it."""
        names = ("model", "port", "transform")
        every = [row for pair in self.pairings for row in pair.lines()]
        return [dict(zip(names, row, strict=True)) for row in every]

    def lines(self) -> Iterator[str]:
        """Yield a line of text for each weight: whence, where to, and what is done to it."""
        rows = [row for pair in self.pairings for row in pair.lines()]
        widths = [max(len(row[i]) for row in rows) for i in (0, 1)]
        for path, name, said in rows:
            yield f"  {path:{widths[0]}}  {name:{widths[1]}}  {said}"


def by_hand(
    units: Sequence[Described], modules: Sequence[Described], given: Mapping[str, str]
) -> ModelMapping:
    """Return the mapping that a file gives: by the path of a module, that of a layer.

    Raises:
        UnusablePort: If it names what does not exist, or pairs what does not fit.
    """
    of_unit = {name: unit for unit in units for name in (unit["name"], unit["path"])}
    of_module = {module["path"]: module for module in modules}
    pairings = []
    for path, layer in given.items():
        for name, known, what in ((path, of_module, "port"), (layer, of_unit, "model")):
            if name not in known:
                near = difflib.get_close_matches(name, list(known), cutoff=0.3)
                hint = f" (there is {', '.join(near)})" if near else ""
                raise UnusablePort(f"mapping names {name}, which the {what} has not{hint}")
        paired = pairing(of_unit[layer], of_module[path])
        if paired is None:
            raise UnusablePort(
                f"mapping pairs {path} with {layer}, but {_shown(of_module[path])} does not fit "
                f"{_shown(of_unit[layer])}"
            )
        pairings.append(paired)
    _require_all(units, modules, pairings)
    order = {unit["path"]: index for index, unit in enumerate(units)}
    pairings.sort(key=lambda pair: order[pair.unit["path"]])
    return ModelMapping(tuple(pairings), "as mapping says")


def mappings(units: Sequence[Described], modules: Sequence[Described]) -> list[ModelMapping]:
    """Return the mappings that classes, shapes, names and order leave, the likeliest first.

    Args:
        units: Of the Keras model, in the order of their execution.
        modules: Of the port, in the order of theirs.

    Raises:
        UnusablePort: If there is a layer or a module without a partner, with the candidates.
    """
    found: dict[Any, ModelMapping] = {}
    for of, end in ((modules, ""), (_transposed(modules), ", square weights transposed")):
        for how, pairings in (
            ("by order of execution", _in_order(units, of)),
            ("by shape and order", _by_kind(units, of, lambda unit, module: 0.0)),
            ("by shape and name", _by_kind(units, of, _likeness)),
        ):
            if pairings is not None:
                key = tuple((p.unit["path"], p.module["path"], *p.said()) for p in pairings)
                found.setdefault(key, ModelMapping(tuple(pairings), how + end))
    if not found:
        _require_all(units, modules, [])
    return list(found.values())


def _transposed(modules: Sequence[Described]) -> list[Described]:
    """Return modules of which those of the porter's own hold square weights transposed."""
    return [{**module, "transposed": True} for module in modules]


def _in_order(units: Sequence[Described], modules: Sequence[Described]) -> list[Pairing] | None:
    if len(units) != len(modules):
        return None
    pairs = [pairing(unit, module) for unit, module in zip(units, modules, strict=True)]
    return None if None in pairs else [p for p in pairs if p]


def _by_kind(
    units: Sequence[Described], modules: Sequence[Described], likeness: Any
) -> list[Pairing] | None:
    """Pair each layer with the module that fits it and is most like it; the first of equals."""
    left = list(modules)
    pairings = []
    for unit in units:
        fitting = [(m, p) for m in left if (p := pairing(unit, m)) is not None]
        if not fitting:
            return None
        module, chosen = max(fitting, key=lambda pair: likeness(unit, pair[0]))
        pairings.append(chosen)
        left.remove(module)
    return None if left else pairings


def _likeness(unit: Described, module: Described) -> float:
    """Return how alike two names are, from 0 to 1."""
    one, other = (re.sub(r"[^a-z0-9]+", "_", d["path"].lower()) for d in (unit, module))
    return difflib.SequenceMatcher(None, one, other).ratio()


def _require_all(
    units: Sequence[Described], modules: Sequence[Described], pairings: Sequence[Pairing]
) -> None:
    """Refuse layers and modules that have no partner."""
    if pairings:
        taken = {p.unit["path"] for p in pairings}, {p.module["path"] for p in pairings}
        alone = [u for u in units if u["path"] not in taken[0]]
        over = [m for m in modules if m["path"] not in taken[1]]
    else:
        alone, over = _unpaired(units, modules)
    if not alone and not over and pairings:
        return
    parts = [
        f"{what} {', '.join(map(_shown, items[:4]))}{' and more' if len(items) > 4 else ''}"
        for what, items in (("in the Keras model", alone), ("in the port", over))
        if items
    ]
    certain = all(_is_plain(item) for item in (*alone, *over)) and (alone or over)
    raise (OtherLayers if certain else UnusablePort)(
        "these layers have no partner: "
        + ("; ".join(parts) or "they fit in more than one way, none of which takes all")
        + '; name pairs in the port as mapping = {"module": "layer"}'
    )


def _is_plain(item: Described) -> bool:
    """Return whether a layer or a module has the weights that the other side's must have too."""
    return item["class"].startswith(PLAIN) and not item.get("own", False)


def _unpaired(
    units: Sequence[Described], modules: Sequence[Described]
) -> tuple[list[Described], list[Described]]:
    """Return what is left of both when each has taken the first that fits."""
    left, alone = list(modules), []
    for unit in units:
        partner = next((m for m in left if pairing(unit, m) is not None), None)
        if partner is None:
            alone.append(unit)
        else:
            left.remove(partner)
    return alone, left


def _shown(described: Described) -> str:
    shapes = Counter(
        str(tuple(w[1] if isinstance(w[0], str) else w[0])) for w in described["weights"].values()
    )
    return f"{described['path']} ({described['class']} of {', '.join(shapes)})"


def possible(edits: Iterable[dict[str, Any]], pairings: Iterable[Pairing]) -> list[dict[str, Any]]:
    """Return the mistakes that a port can have made: no more weights than it has."""
    trained = {
        (pair.unit["name"], name.split(".")[-1])
        for pair in pairings
        for name in pair.extra
        if pair.module["weights"][name][1]
    }
    return [
        edit
        for edit in edits
        if edit["rung"] != EXTRA or (edit["where"], NAMES[edit["name"].split()[-1]]) in trained
    ]
