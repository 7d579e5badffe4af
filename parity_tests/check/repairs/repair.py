"""A change of a port that may mend it, and what is known of the model that it is to agree with."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from parity_tests.check.repairs.functions import OF_KERAS

Call = dict[str, Any]


@dataclass(frozen=True)
class Repair:
    """What could be otherwise in a port.

    Attributes:
        changes: That are made in its program, each with the "text" that it stands in.
        what: Is called there.
        sentence: What is changed.
    """

    changes: tuple[Mapping[str, Any], ...]
    what: str
    sentence: str

    def __str__(self) -> str:
        """Return the place and what is changed there."""
        place = f"{self.text[0]}:{self.text[1]}: " if self.text else ""
        return f"{place}{self.what}: {self.sentence}"

    @property
    def text(self) -> tuple[Any, ...] | None:
        """The place in the text, or that of what several modules share; None if not known."""
        text = self.changes[0]["near"]
        return tuple(text) if text else None


@dataclass
class Wanted:
    """What the layers and the optimizer of a model are configured with.

    Attributes:
        configs: Of some layers, each with its "class".
        optimizer: Its configuration.
    """

    configs: Sequence[Mapping[str, Any]] = ()
    optimizer: Mapping[str, Any] = field(default_factory=dict)

    def numbers(self) -> list[Any]:
        """Return the numbers of the layers, each once, and the roots of sizes, as in attention."""
        found: dict[str, Any] = {}
        for config in self.configs:
            for value in config.values():
                if isinstance(value, int | float | list) and not isinstance(value, bool):
                    found.setdefault(repr(value), value)
        sizes = [n for n in found.values() if type(n) is int and n > 1]
        roots = [root for n in sizes for root in (n**0.5, n**-0.5)]
        return [*found.values(), *roots]

    def activations(self) -> list[tuple[str, dict[str, Any]]]:
        """Return the activations of the layers, as functions of PyTorch with their options."""
        found: dict[str, tuple[str, dict[str, Any]]] = {}
        for config in self.configs:
            names = [config.get("activation"), config.get("recurrent_activation")]
            kind = str(config["class"])
            slope = config.get("negative_slope")
            if kind in ("LeakyReLU", "ReLU") and slope:
                found.setdefault(f"leaky {slope}", ("leaky_relu", {"negative_slope": slope}))
            elif kind == "ReLU" and config.get("max_value") == 6:
                found.setdefault("relu6", ("relu6", {}))
            elif kind == "ELU":
                found.setdefault("elu", ("elu", {"alpha": config.get("alpha", 1.0)}))
            elif kind in ("ReLU", "Softmax"):
                names.append(kind.lower())
            for name in names:
                if name in OF_KERAS:
                    found.setdefault(name, OF_KERAS[name])
        return list(found.values())


@dataclass(frozen=True)
class Mended:
    """A repair that was found.

    Attributes:
        repair: What is changed.
        rung: That failed without it.
        beside: What the model is configured with, or the layer where the difference shows.
        left: Of the difference, relative to the scale.
        whole: Whether no more than rounding is left; else others mend the rest.
        alternatives: Others, after which as many rungs agree.
    """

    repair: Repair
    rung: str
    beside: str
    left: float
    whole: bool
    alternatives: tuple[Repair, ...] = ()

    def __str__(self) -> str:
        """Return one sentence."""
        beside = f" ({self.beside})" if self.beside else ""
        others = "".join(f", or {other}" for other in self.alternatives[:2])
        return f"{self.rung}: mended by: {self.repair}{others}{beside}; residual {self.left:.1g}"

    def as_json(self) -> dict[str, Any]:
        """Return what was found, for JSON."""
        place = self.repair.text
        file, line, column = place[:3] if place else (None, None, None)
        return {
            "rung": self.rung,
            "file": file,
            "line": line,
            "column": column,
            "call": self.repair.what,
            "change": self.repair.sentence,
            "beside": self.beside,
            "residual": self.left,
            "alternatives": [str(other) for other in self.alternatives],
        }


def key_of(call: Call) -> str:
    """Return what tells a call of a program from its others."""
    return repr([call["at"], call["what"], call.get("path")])


def once(calls: Iterable[Call]) -> list[Call]:
    """Return the calls of a program, those of one place once."""
    found: dict[str, Call] = {}
    for call in calls:
        found.setdefault(key_of(call), call)
    return list(found.values())
