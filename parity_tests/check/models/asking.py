"""Asking the port of a Keras model what its module computes, and what its training does."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product
from typing import Any

import numpy as np

from parity_tests.check.book.asking import UnchangedError
from parity_tests.check.messages import NotObservable, PortError, UnusablePort, numbered
from parity_tests.check.process import Process

STEPS = 5
"""Of training, enough for a schedule that is one step off to show."""
LATER, SECONDS = 1000, 10
"""Steps of a training of its own that are looked at in brief, and for how long."""
Arrays = dict[str, np.ndarray]


@dataclass
class AskedModule:
    """A program whose module was found.

    Attributes:
        process: Of the program.
        name: Of the module.
        module: Its identity in the process.
        said: What the module holds, and what the file says of it.
        weights: Its own first weights, by name.
        batches: For each step that it takes by itself "inputs 0", "targets 0" and so on, as it
            was given them; none where it is called.
        line: Where it takes gradients, where it trains by itself.
        drive: What is called, and how; None where it trains by itself.
        changes: That are made in what it calls.
        steps: Of its training that are wanted.
        noted: Whether its calls are to be told.
    """

    process: Process
    name: str
    module: int
    said: dict[str, Any]
    weights: Arrays
    batches: list[Arrays] = field(default_factory=list)
    line: int = 0
    drive: dict[str, Any] | None = None
    changes: Sequence[Mapping[str, Any]] = ()
    steps: int = STEPS
    noted: bool = False

    @property
    def trained_by(self) -> str:
        """What trains it, in words."""
        if not self.batches:
            name = self.drive["name"] if self.drive else self.process.waits["calls"][0]["name"]
            return f"trained by {name}"
        called = self.process.waits.get("called")
        how = f"trained by {called}" if called else "as it trains when it is run"
        size = len(next(iter(self.batches[0].values())))
        return f"{how}, with batches of {size}; gradients are taken in line {self.line}"

    def look(
        self,
        method: str,
        weights: Mapping[str, np.ndarray],
        arrays: Mapping[str, np.ndarray],
        *,
        seed: int = 0,
        **options: Any,
    ) -> tuple[dict[str, Any], Arrays]:
        """Return what the module answers, given its weights by name."""
        options = {"look": method, "options": options, "seed": seed, **self._asked_so}
        return self.process.ask(0, {**arrays, **_named(weights)}, **options)

    @property
    def _asked_so(self) -> dict[str, Any]:
        changes: dict[str, Any] = {"noted": True, "changes": []} if self.noted else {}
        changes |= {"changes": list(self.changes)} if self.changes else {}
        return {"module": self.module, "still": True, **changes}

    def train(
        self, weights: Mapping[str, np.ndarray], inputs: Arrays, targets: Sequence[np.ndarray]
    ) -> tuple[dict[str, Any], Arrays]:
        """Return what the steps of its training do.

        Args:
            weights: By name, to begin with.
            inputs: "inputs 0" and so on, as the module takes them: those of each step where it is
                called, and those of the first where it trains by itself.
            targets: Of each step, where it is called.

        Raises:
            PortError: If it raises an error.
            NotObservable: If it changes no weight.
        """
        arrays = {**inputs, **_named(weights)}
        if not self.process.waits.get("calls"):
            return self._asked(arrays, {})
        problem: PortError | None = None
        for call, formed in product(self.process.waits["calls"], _forms(targets)):
            if self.drive is not None and call["name"] != self.drive["name"]:
                continue
            drive = {"name": call["name"], "model": self.name, "epochs": 1}
            drive["batch_size"] = len(inputs["inputs 0"])
            several = {f"targets {i}": array for i, array in enumerate(formed)}
            data = {n: np.concatenate([a] * self.steps) for n, a in {**inputs, **several}.items()}
            try:
                found = self._asked({**arrays, **data}, drive)
            except PortError as error:
                problem = problem or error
                continue
            self.drive = drive
            return found
        raise problem or NotObservable("it has no training step that could be called")

    def later(self) -> list[dict[str, Any]]:
        """Return what is said of many steps of a training of its own, as many as there is time for.

        Of each, whether the module was in training, and the rates of an optimizer of torch.
        """
        options: dict[str, Any] = {"brief": True, "seconds": SECONDS, **self._asked_so}
        said, _ = self.process.ask(LATER, **options)
        return said["steps"]

    def _asked(self, arrays: Arrays, drive: dict[str, Any]) -> tuple[dict[str, Any], Arrays]:
        options: dict[str, Any] = {"drive": drive} if drive else {}
        said, found = self.process.ask(self.steps, arrays, **options, **self._asked_so)
        if said["error"]:
            raise PortError(f"{self.process.path} raised an error: {said['ended']}")
        if not said["steps"]:
            what = drive.get("name", "it")
            if said["strange"]:
                raise NotObservable(f"{what} updates the weights of another model")
            raise NotObservable(f"{what} changes no weight of its model by gradients")
        if said["other"]:
            what = drive.get("name", "it")
            raise NotObservable(f"{what} trains another model: name one of both with --model")
        return said, found


def _named(weights: Mapping[str, np.ndarray]) -> Arrays:
    return {f"weight {name}": array for name, array in weights.items()}


def _forms(targets: Sequence[np.ndarray]) -> Iterator[list[np.ndarray]]:
    """Yield targets in the forms that a step may take, those of the model first."""
    whole = [t.astype(np.int64) if t.dtype.kind in "iub" else t for t in targets]
    yield whole

    def each(change: Any) -> list[np.ndarray]:
        return [change(target) for target in whole]

    classes = [t.argmax(-1) if _is_one_hot(t) else t for t in whole]
    floats = each(lambda t: t.astype(np.float64))
    yield from (
        form
        for form in (
            classes,
            each(lambda t: t.reshape(len(t)) if t.shape[1:] == (1,) else t),
            each(lambda t: t[:, None] if t.ndim == 1 else t),
            floats,
            [t[:, None] if t.ndim == 1 else t for t in floats],
            [t.reshape(len(t)).astype(np.int64) if t.shape[1:] == (1,) else t for t in classes],
        )
        if not all(_same(one, other) for one, other in zip(form, whole, strict=True))
    )


def _same(one: np.ndarray, other: np.ndarray) -> bool:
    return one.shape == other.shape and one.dtype == other.dtype


def _is_one_hot(array: np.ndarray) -> bool:
    if array.ndim < 2 or array.shape[-1] < 2:
        return False
    return bool(np.isin(array, (0, 1)).all() and (array.sum(-1) == 1).all())


def find_module(process: Process) -> AskedModule:
    """Return the module that a program trains: when it is run, or by being called.

    Raises:
        UnusablePort: If it trains none.
        UnchangedError: If it takes gradients, and no weight ever changes.
    """
    while process.waits["at"] == "pass":
        said, arrays = process.ask(STEPS, still=True)
        if said["steps"] and (first := said["steps"][0]["pass"]) != process.waits["number"]:
            process.go_on(first)
        elif said["steps"]:
            return _seen(process, said, arrays)
        elif said["trains"]:
            raise UnusablePort(f"{process.path}: its model is no torch.nn.Module")
        elif said["open"]:
            raise UnchangedError(said)
        else:
            process.go_on(-1)
    calls = process.waits["calls"]
    if calls and calls[0]["alone"]:
        drive = {"name": calls[0]["name"], "model": next(iter(process.waits["models"]))}
        drive |= {"epochs": 1, "batch_size": 0}
        process.call({}, drive)
        return find_module(process)
    name = next(iter(process.waits["models"]))
    asked = AskedModule(process, name, process.waits["modules"][name], {}, {})
    return _described(asked, process.waits)


def _described(asked: AskedModule, waits: Mapping[str, Any]) -> AskedModule:
    said, arrays = asked.look("describe", {}, {})
    known = ("layout", "mapping", "brings")
    asked.said = {**{name: waits.get(name) for name in known}, **said}
    asked.weights = {name.removeprefix("weight "): array for name, array in arrays.items()}
    return asked


def _seen(process: Process, said: dict[str, Any], arrays: Arrays) -> AskedModule:
    """Return the module of steps that were seen."""
    first = said["steps"][0]
    if first["others"]:
        raise UnusablePort(
            f"{process.path}: a step trains several modules, {', '.join(first['others'])} and "
            "another: call them in one module"
        )
    batches = []
    for number in range(len(said["steps"])):
        batch = {
            f"{kind} {i}": array
            for kind in ("inputs", "targets")
            for i, array in enumerate(numbered(arrays, f"{number} {kind}"))
        }
        batches.append(batch)
    asked = AskedModule(process, "", said["module"], {}, {}, batches, first["line"])
    asked = _described(asked, process.waits)
    asked.name = asked.said["type"]
    return asked


def brought(process: Process) -> Arrays:
    """Return the batch that a file brings that trains nothing when it is run."""
    drive = {"name": "batch", "model": "", "epochs": 1, "batch_size": 0}
    _, found = process.ask(0, {}, drive=drive)
    return {name.removeprefix("returned "): array for name, array in found.items()}
