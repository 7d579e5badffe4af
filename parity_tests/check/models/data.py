"""The batches that both sides train on: those of the port, of the model's file, or drawn ones."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from parity_tests.check.messages import UnusablePort, numbered
from parity_tests.check.models.asking import Arrays, AskedModule, brought
from parity_tests.check.models.forms import forms_of, taken
from parity_tests.check.models.reference import Reference
from parity_tests.check.results import FAIL, NOT_JUDGED, PASS, Mistake, Observation, Verdicts

OTHER_TARGETS = "other targets"
"""The name of a mistake."""


@dataclass
class Data:
    """What both sides train on.

    Attributes:
        verdicts: Takes what is found.
        asked: The port.
        truth: The process of the model.
        described: What the model is made of.
        batches: Inputs and targets of each step, as the model takes them; one for all steps where
            the port is called.
        form: In which the port takes inputs, if it is known.
        other: Whether they are not those of the model's file.
    """

    verdicts: Verdicts
    asked: AskedModule
    truth: Reference
    described: Mapping[str, Any]
    batches: list[Arrays] = field(default_factory=list)
    form: str | None = None
    other: bool = False

    def choose(self) -> None:
        """Choose the batches, and judge the rung "data" where both sides bring some."""
        said, batch = self.truth.ask("batch")
        if self.asked.batches:
            self._take_those_of_the_port(said, batch)
        elif self.asked.said["brings"] and said["brings"] == "nothing":
            self.batches, self.other = [brought(self.asked.process)], True
        else:
            self.batches = [batch]
            self._restore(said, batch)
        if not all(array.size for array in self.batches[0].values()):
            raise UnusablePort(f"{self.asked.process.path}: its batch has no samples")
        if self.other:
            self.send(self.truth)

    def _restore(self, said: Mapping[str, Any], batch: Arrays) -> None:
        """Take the inputs for targets, if what is called takes none, and they may be."""
        calls = self.asked.process.waits.get("calls") or [{"takes": []}]
        taken = {role for call in calls for role in call["takes"]}
        (inputs, *_), (targets, *_) = (numbered(batch, name) for name in ("inputs", "targets"))
        alone = "images" in taken and "labels" not in taken and inputs.shape == targets.shape
        if alone and said["brings"] == "nothing":
            self.batches, self.other = [{**batch, "targets 0": inputs}], True

    def send(self, process: Reference, rounded: bool = False) -> None:
        """Give the batches to another process of the model, perhaps rounded to float32."""
        batches = self.batches
        if rounded:
            batches = [{name: _rounded(a) for name, a in batch.items()} for batch in batches]
        if self.other or rounded:
            process.ask("use_batches", _by_step(batches), steps=len(batches))

    def _take_those_of_the_port(self, said: Mapping[str, Any], batch: Arrays) -> None:
        shapes = [array.shape[1:] for array in numbered(batch, "inputs")]
        layout = self.asked.said["layout"] or self.described["layout"]
        for form in forms_of(shapes, layout):
            inputs = [_taken(form, seen, shapes) for seen in self.asked.batches]
            if all(inputs):
                break
        else:
            given = ", ".join(str(a.shape) for a in numbered(self.asked.batches[0], "inputs"))
            wanted = ", ".join(str(shape) for shape in shapes)
            raise UnusablePort(
                f"{self.asked.process.path}: its model is given inputs of shape {given}, and a "
                f"sample of the Keras model has {wanted}"
            )
        self.form, self.other = form, True
        targets = [_named("targets", numbered(seen, "targets")) for seen in self.asked.batches]
        count = len(numbered(batch, "targets"))
        self.batches = [
            {**given, **dict(list(of.items())[:count])}
            for given, of in zip(inputs, targets, strict=True)
        ]
        if said["brings"] == "nothing":
            self._require_targets(count)
            return
        self._compare(said)

    def _compare(self, said: Mapping[str, Any]) -> None:
        """Judge whether the port trains on the data of the model's file."""
        steps = len(self.batches)
        found, theirs = self.truth.ask("recognize", _by_step(self.batches), steps=steps)
        wrong = []
        if found["found"]:
            known = [_of_step(theirs, step) for step in range(steps)]
            factor, offset = found["factor"], found["offset"]
            if (factor, offset) != (1.0, 0.0):
                sentence = f"inputs are {factor:.6g} times the model's, plus {offset:.6g}"
                wrong.append(Mistake("another scale", sentence))
            wrong += self._targets(known)
            pairs = zip(known, self.batches, strict=True)
            self.batches = [{**own, **_inputs(mine)} for own, mine in pairs]
        size = len(next(iter(self.batches[0].values())))
        if said["size"] and size != said["size"]:
            sentence = f"batches of {size}, where the model has {said['size']}"
            wrong.append(Mistake("another batch size", sentence))
        for mistake in wrong:
            self.verdicts.findings.append(Observation("data", mistake))
        if wrong:
            self.verdicts.add("data", FAIL, "; ".join(mistake.sentence for mistake in wrong))
        elif found["found"]:
            self.verdicts.add("data", PASS, f"(the batches of {steps} steps)")
        else:
            reason = "the port's samples are not those of the model's file; both get the port's"
            self.verdicts.add("data", NOT_JUDGED, reason)
            self._require_targets(1)

    def _targets(self, known: list[Arrays]) -> list[Mistake]:
        """Return what is wrong with the targets of samples that are the model's."""
        met, right = (numbered(of[0], "targets") for of in (self.asked.batches, known))
        for target in right if len(met) >= len(right) else ():
            told = {_mean_the_same(one, target) for one in met}
            if False in told and True not in told:
                return [Mistake(OTHER_TARGETS, "the samples have other targets")]
        return []

    def _require_targets(self, count: int) -> None:
        if any(len(numbered(batch, "targets")) < count for batch in self.batches):
            raise UnusablePort(
                f"{self.asked.process.path}: the targets that its outputs meet are not seen"
            )


def _mean_the_same(one: np.ndarray, other: np.ndarray) -> bool | None:
    """Return whether targets are the same, as classes or one-hot; None of other shapes."""
    classes = [a.argmax(-1) if a.ndim > 1 and a.shape[-1] > 1 else a for a in (one, other)]
    for first, second in ((one, other), classes):
        if first.size == second.size:
            near = np.abs(first.ravel().astype(float) - second.ravel()).max(initial=0)
            return bool(near <= 1e-5 * max(1.0, np.abs(second).max(initial=0)))
    return None


def _taken(form: str, seen: Arrays, shapes: Any) -> Arrays:
    """Return the inputs of a batch as the model takes them; none if they do not fit."""
    given = numbered(seen, "inputs")
    if len(given) != len(shapes):
        return {}
    arrays = [taken(form, array, shape) for array, shape in zip(given, shapes, strict=True)]
    return {} if any(a is None for a in arrays) else _named("inputs", arrays)


def _rounded(array: np.ndarray) -> np.ndarray:
    """Return the neighbours of numbers in float32; tokens and classes as they are."""
    if array.dtype.kind != "f":
        return array
    near = array.astype(np.float32)
    return np.nextafter(near, np.float32(np.inf)).astype(np.float64)


def _named(kind: str, arrays: list[Any]) -> Arrays:
    return {f"{kind} {i}": array for i, array in enumerate(arrays)}


def _inputs(batch: Arrays) -> Arrays:
    return {name: array for name, array in batch.items() if name.startswith("inputs")}


def _by_step(batches: list[Arrays]) -> Arrays:
    return {f"{step} {n}": a for step, batch in enumerate(batches) for n, a in batch.items()}


def _of_step(arrays: Arrays, step: int) -> Arrays:
    prefix = f"{step} "
    return {n.removeprefix(prefix): a for n, a in arrays.items() if n.startswith(prefix)}
