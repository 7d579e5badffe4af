"""The ladder of a model: each rung is judged given the reference's own input.

The rule is that of the tolerance table. The truth is the Keras model in float64; the yardstick
is the same model on a second backend and, for a float32 port, in float32. A port may be no
further from the truth than ten times the yardstick, plus a floor: in float64 that of one
constant that was rounded to float32, since Keras rounds some of its constants.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from parity_tests.check.compared import Compared, compare, folded_like, largest
from parity_tests.check.messages import PortError, numbered
from parity_tests.check.models.asking import STEPS
from parity_tests.check.models.moves import Arrays, Pairing
from parity_tests.check.models.sides import WHOLE, KerasSide, PortSide


@dataclass
class ModelLadder:
    """The rungs of a Keras model and its port.

    Attributes:
        truth: The model in float64.
        yards: The yardsticks, of which the one that is further off counts.
        port: The port.
        dtype: Of the port.
        trainable: Paths of the weights that are trained.
        unseen: Why a part of a rung could not be judged, in sentences.
        outside: Mistakes in a layer that the port makes outside of its module.
        window: Which calls of units are judged: the first, and the one after the last.
        modes: Whether layers and outputs are judged in training: not, then so.
    """

    truth: KerasSide
    yards: Sequence[KerasSide]
    port: PortSide
    dtype: str
    trainable: frozenset[str]
    unseen: set[str] = field(default_factory=set)
    outside: set[str] = field(default_factory=set)
    window: tuple[int, int] = WHOLE
    modes: tuple[bool, ...] = (False, True)

    def compared(
        self, rung: str, made: Sequence[str], tried: Sequence[str] = ()
    ) -> Iterator[Compared]:
        """Yield what is compared on a rung.

        Args:
            rung: Of the ladder.
            made: Mistakes that the reference makes, also where it gives the port its input.
            tried: Further mistakes that it makes, but not in the port's input.
        """
        return RUNGS[rung](self, list(made), [*made, *tried])

    def _compare(self, label: str, where: str, *arrays: Any, **options: Any) -> Compared:
        return compare(self.dtype, label, where, *arrays, **options)

    def _pairs(self) -> dict[str, Pairing]:
        return {pair.unit["path"]: pair for pair in self.port.mapping.pairings}

    def _whole(self, training: bool) -> tuple[list[dict], Arrays]:
        """Return what the port does with its own numbers."""
        key = ("whole", training)
        if key not in self.port.kept:
            said, found = self.port.trace(training)
            self.port.kept[key] = said["calls"], found
        return self.port.kept[key]

    def _fed(self, training: bool, made: list[str]) -> tuple[list[dict], Arrays]:
        """Return what the port does if each unit returns what the model's does."""
        key = ("fed", training, tuple(made), frozenset(self.outside))
        if key not in self.port.kept:
            calls, _ = self.truth.trace(training, made)
            of_port, whole = self._whole(training)
            natural = _by_unit(of_port, whole, "output")
            feed: Arrays = {}
            for index, call in enumerate(calls):
                pair = self._pairs()[call["unit"]]
                path = pair.module["path"]
                outputs = natural.get(path, [])
                count = sum(c["unit"] == call["unit"] for c in calls[:index])
                source = self.truth.trace(training, self._inside(made, call["unit"]))[1]
                output = source[f"call {index} {self._kind(pair, call['unit'])}"]
                if count < len(outputs) and not call["masked"]:
                    fits = self.port.arranged(pair, folded_like(output, outputs[count]))
                    if fits.shape == outputs[count].shape:
                        feed[f"feed {path} {count}"] = fits
            said, found = self.port.trace(training, feed)
            self.port.kept[key] = said["calls"], found
        return self.port.kept[key]

    def _inside(self, edits: list[str], path: str) -> list[str]:
        """Return mistakes without those in a layer that are made outside of its module."""
        return [e for e in edits if e not in self.outside or not _is_at(e, path)]

    def _kind(self, pair: Pairing, unit: str) -> str:
        """Return whether a module is its layer without its activation, or the whole."""
        if pair.module["class"] != "Module":
            return "output"
        key = ("kind", unit)
        if key not in self.port.kept:
            calls, given = self.truth.trace(False)
            index = next(i for i, call in enumerate(calls) if call["unit"] == unit)
            before = given[f"call {index} output"]
            found = self._alone(pair, given[f"call {index} input 0"], False)
            alike = found is not None and found.shape == before.shape
            near = alike and largest(found - before) <= 1e-3 * largest(before)
            self.port.kept[key] = "output" if near else "returned"
        return str(self.port.kept[key])

    def _alone(self, pair: Pairing, given: np.ndarray, training: bool) -> np.ndarray | None:
        """Return what a module makes of one input; None if it takes another, or more."""
        try:
            return self.port.unit_output(pair, [given], training)
        except PortError:
            return None

    def _calls(
        self, training: bool, made: list[str], tried: list[str], name: str
    ) -> Iterator[tuple[Pairing, str, np.ndarray | None, list[np.ndarray | None]]]:
        """Yield, for each call of a unit: the pair, its place, its input, and what is compared.

        The input is the model's; None if the module is called with more than that. What is
        compared is an input or an output of the call: the port's, the truth, the truth without
        mistakes, and the yardstick's.
        """
        calls, given = self.truth.trace(training, made)
        sources = [self.truth.trace(training)[1]]
        sources += [yard.trace(training)[1] for yard in self.yards]
        of_port, found = self._fed(training, made)
        held = _by_unit(of_port, found, name)
        alone = {call["unit"] for call in of_port if call["alone"]}
        for index, call in enumerate(calls):
            pair = self._pairs()[call["unit"]]
            mine = held.get(pair.module["path"], [])
            if not self.window[0] <= index < self.window[1]:
                mine[:1] = []
                continue
            if call["masked"] or not mine:
                why = "its input has a mask" if call["masked"] else "its module is not called so"
                self.unseen.add(f"{call['unit']} alone, since {why}")
                continue
            kind = self._kind(pair, call["unit"]) if name == "output" else name
            port = self.port.arranged_back(pair, mine.pop(0))
            compared: list[np.ndarray | None] = [port]
            inside = tried if name != "output" else self._inside(tried, call["unit"])
            window = WHOLE if inside == made else self.window
            for source in (self.truth.trace(training, inside, window)[1], *sources):
                right = source.get(f"call {index} {kind}")
                compared.append(None if right is None else folded_like(right, port))
            place = f"{call['unit']} {'in training' if training else 'in inference'}"
            times = sum(of["unit"] == call["unit"] for of in calls[: index + 1])
            place += f" (call {times})" if times > 1 else ""
            by_itself = pair.module["path"] in alone
            yield pair, place, given[f"call {index} input 0"] if by_itself else None, compared

    def inputs(self) -> Iterator[tuple[Pairing, tuple[np.ndarray, np.ndarray]]]:
        """Yield each pair that is called, with its input in the port and in the model."""
        for pair, _, _, (port, truth, *_) in self._calls(False, [], [], "input 0"):
            assert port is not None
            assert truth is not None
            yield pair, (port, truth)

    def layers(self, made: list[str], tried: list[str]) -> Iterator[Compared]:
        """Yield the output of each layer, given its input, in inference and in training.

        A module that is given another input, such as a padded one, or more than one, is judged
        as it is called, together with what comes before it.
        """
        for training in self.modes:
            inputs = {p: c[0] for _, p, _, c in self._calls(training, made, [], "input 0")}
            for pair, place, given, compared in self._calls(training, made, tried, "output"):
                natural, truth, *others = compared
                assert natural is not None
                assert truth is not None
                own = inputs.get(place)
                fed = None if own is None or given is None else folded_like(given, own)
                if own is not None and fed is not None and own.shape == fed.shape:
                    key = ("alone", place, hash(fed.tobytes()))
                    if key not in self.port.kept:
                        alone = self._alone(pair, fed, training)
                        self.port.kept[key] = natural if alone is None else alone
                    natural = self.port.kept[key]
                if natural.shape == truth.shape:  # else it is judged with what comes after it
                    yield self._compare(
                        f"output of {place}", pair.unit["path"], natural, truth, others
                    )

    def between(self, made: list[str], tried: list[str]) -> Iterator[Compared]:
        """Yield the input of each layer, given the outputs of those before it, and its output."""
        for training in self.modes:
            outputs = {c[1]: c for c in self._calls(training, made, tried, "output")}
            for pair, place, _, compared in self._calls(training, made, tried, "input 0"):
                port, truth, *others = compared
                assert port is not None
                assert truth is not None
                if port.size == truth.size and port.shape != truth.shape:
                    port = port.reshape(truth.shape)
                path = pair.unit["path"]
                natural, right, *rest = outputs[place][3] if place in outputs else (None, None)
                whole = natural is not None and right is not None and natural.shape == right.shape
                if port.shape == truth.shape or not whole:  # else it is judged with its layer
                    yield self._compare(f"input of {place}", path, port, truth, others)
                if natural is not None and right is not None and whole:
                    label = f"output of {place}, as it is called"
                    yield self._compare(label, path, natural, right, rest)
            found = self._fed(training, made)[1]
            yield from self._returned(found, training, tried, ", given those of its layers")

    def _returned(
        self, found: Arrays, training: bool, tried: list[str], how: str
    ) -> Iterator[Compared]:
        expected = self.truth.trace(training, tried, self.window)[1]
        right = self.truth.trace(training)[1]
        of_yards = [yard.trace(training)[1] for yard in self.yards]
        mode = "in training" if training else "in inference"
        for index in range(len(numbered(expected, "outputs"))):
            name = f"outputs {index}"
            label = f"output {index} of the model {mode}{how}"
            port = self.port.returned(index, found[name])
            wanted = [expected[name], right[name], *(of[name] for of in of_yards)]
            truth, *others = (self.port.expected(index, array) for array in wanted)
            truth = folded_like(truth, port)  # as (8, 1) into (8,)
            yield self._compare(label, "", port, truth, others)

    def outputs(self, made: list[str], tried: list[str]) -> Iterator[Compared]:
        """Yield the outputs of the whole model, in inference and in training."""
        for training in self.modes:
            yield from self._returned(self._whole(training)[1], training, tried, "")

    def _trained(self, tried: list[str], steps: int) -> tuple[Arrays, ...]:
        of_yards = [yard.train() for yard in self.yards]
        return self.port.train(), self.truth.train(tried, steps), self.truth.train(), *of_yards

    def loss(self, made: list[str], tried: list[str]) -> Iterator[Compared]:
        """Yield the loss of the first step."""
        yield from self._losses("loss of the first step", tried, 1)

    def _losses(self, label: str, tried: list[str], steps: int) -> Iterator[Compared]:
        port, truth, *others = self._trained(tried, steps)
        right, *known = (of["losses"][:steps] for of in (truth, *others))
        # What is differentiated may be a share of the loss that the step returns.
        found = [port[name][:steps] for name in ("losses", "returned losses") if name in port]
        every = [self._compare(label, "", of, right, known) for of in found]
        yield next((compared for compared in every if not compared.fails), every[0])

    def _weights(
        self, prefix: str, tried: list[str], trained: bool, steps: int
    ) -> Iterator[Compared]:
        """Yield gradients, or what was added to the weights, tensor by tensor."""
        sides = self._trained(tried, steps)
        start = {} if prefix == "gradient " else self.port.weights
        what = {"gradient ": "gradient", "first ": "first update", "last ": "all updates"}[prefix]

        def added(side: Arrays, path: str) -> np.ndarray | None:
            return side[prefix + path] - start.get(path, 0) if prefix + path in side else None

        for pair in self.port.mapping.pairings:
            paths = [path for path, _ in pair.unit["weights"].values()]
            paths = [p for p in paths if (p in self.trainable) == trained]
            values = {p: [added(side, p) for side in sides] for p in paths}
            scale = max((largest(v[1]) for v in values.values() if v[1] is not None), default=0.0)
            for path, (port, truth, *others) in values.items():
                if port is not None and truth is not None:
                    label, where = f"{what} of {path}", pair.unit["path"]
                    yield self._compare(label, where, port, truth, others, scale=scale, steps=steps)
                elif truth is not None:
                    self.unseen.add(f"{what} of {path}, since the port has none")

    def gradients(self, made: list[str], tried: list[str]) -> Iterator[Compared]:
        """Yield the gradients of the first step."""
        return self._weights("gradient ", tried, True, 1)

    def statistics(self, made: list[str], tried: list[str]) -> Iterator[Compared]:
        """Yield what the first step adds to the running statistics."""
        return self._weights("first ", tried, False, 1)

    def update(self, made: list[str], tried: list[str]) -> Iterator[Compared]:
        """Yield what the first step adds to the weights."""
        return self._weights("first ", tried, True, 1)

    def trajectory(self, made: list[str], tried: list[str]) -> Iterator[Compared]:
        """Yield the losses of some steps, and weights and outputs at their end."""
        yield from self._losses("losses of all steps", tried, STEPS)
        yield from self._weights("last ", tried, True, STEPS)
        yield from self._weights("last ", tried, False, STEPS)
        port, model, *others = self._trained(tried, STEPS)
        for index, expected in enumerate(numbered(model, "outputs")):
            name = f"outputs {index}"
            wanted = [expected, *(of[name] for of in others)]
            truth, *known = (self.port.expected(index, array) for array in wanted)
            truth = folded_like(truth, port[name])
            yield self._compare(f"output {index} after all steps", "", port[name], truth, known)


RUNGS: dict[str, Callable[[ModelLadder, list[str], list[str]], Iterator[Compared]]] = {
    "layers": ModelLadder.layers,
    "between": ModelLadder.between,
    "outputs": ModelLadder.outputs,
    "loss": ModelLadder.loss,
    "gradients": ModelLadder.gradients,
    "statistics": ModelLadder.statistics,
    "update": ModelLadder.update,
    "trajectory": ModelLadder.trajectory,
}
"""By name, in the order in which they are climbed."""


def _is_at(edit: str, path: str) -> bool:
    return edit.split(": ", 1)[0] == path.split("/")[-1]


def _by_unit(calls: list[dict], arrays: Arrays, name: str) -> dict[str, list[np.ndarray]]:
    """Return an input or an output of each call, by unit, in the order of its calls."""
    found: dict[str, list[np.ndarray]] = {}
    for index, call in enumerate(calls):
        if f"call {index} {name}" in arrays:
            found.setdefault(call["unit"], []).append(arrays[f"call {index} {name}"])
    return found
