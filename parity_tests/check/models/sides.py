"""The two sides of a comparison: what the Keras model answers, and what its port does."""

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from parity_tests.check.messages import PortError, numbered
from parity_tests.check.models.asking import STEPS, AskedModule
from parity_tests.check.models.forms import AXES, FORMS, OUTPUTS, axes_of_class, given
from parity_tests.check.models.mapping import ModelMapping
from parity_tests.check.models.moves import Arrays, Pairing
from parity_tests.check.models.reference import Reference

WHOLE = (0, 1_000_000)
"""A window that holds all calls."""


class Answers(OrderedDict):
    """Answers by question; those not used for longest are forgotten where they take too much."""

    LIMIT = 2e9
    """Bytes."""

    def __getitem__(self, question: Any) -> Any:
        """Return an answer."""
        self.move_to_end(question)
        return super().__getitem__(question)

    def __setitem__(self, question: Any, answer: Any) -> None:
        """Keep an answer."""
        super().__setitem__(question, answer)
        self.move_to_end(question)
        sizes = {key: _bytes(value) for key, value in self.items()}
        left = sum(sizes.values())
        for key in list(self)[:-1]:
            if left <= self.LIMIT:
                break
            left -= sizes[key]
            del self[key]


def _bytes(answer: Any) -> int:
    parts = answer if isinstance(answer, tuple) else (answer,)
    held = [array for part in parts if isinstance(part, dict) for array in part.values()]
    held += [part for part in parts if isinstance(part, np.ndarray)]
    return sum(array.nbytes for array in held if isinstance(array, np.ndarray))


@dataclass
class KerasSide:
    """A Keras model that answers with some mistakes made; each answer is kept.

    Attributes:
        process: Of the model.
        steps: Of training that are compared.
        kept: Answers, by question and mistakes.
    """

    process: Reference
    steps: int = STEPS
    kept: Answers = field(default_factory=Answers)

    def trace(
        self, training: bool, edits: Sequence[str] = (), window: tuple[int, int] = WHOLE
    ) -> tuple[list[dict], Arrays]:
        """Return the calls of the units, and the arrays of some of them and of the outputs."""
        said, arrays = self._ask("trace", edits, training=training, window=window)
        return said["calls"], arrays

    def order(self) -> list[list[Any]]:
        """Return the name of each layer that is called, and how many calls of units came before."""
        return self._ask("trace", (), training=False, window=WHOLE)[0]["order"]

    def noise(self, training: bool) -> list[str]:
        """Return each dropout, in the order of execution, such as "0.5 of 256 numbers"."""
        return self._ask("trace", (), training=training, window=WHOLE)[0]["noise"]

    def noise_of_step(self) -> list[str]:
        """Return each dropout of the first step of training."""
        return self._ask("train", (), steps=self.steps)[0]["noise"]

    def marked(self) -> Arrays:
        """Return the outputs in training where each dropout multiplies by 1 + its rate."""
        return self._ask("trace", (), training=True, window=(0, 0), marked=True)[1]

    def train(self, edits: Sequence[str] = (), steps: int = STEPS) -> Arrays:
        """Return losses, first gradients, weights and outputs."""
        steps = min(steps, self.steps)
        if steps == 1 and ("train", self.steps, tuple(edits)) in self.kept:
            steps = self.steps
        return self._ask("train", edits, steps=steps)[1]

    def _ask(self, method: str, edits: Sequence[str], **options: Any) -> tuple[dict, Arrays]:
        key = (method, *options.values(), tuple(edits))
        if key not in self.kept:
            self.kept[key] = self.process.ask(method, edits=list(edits), **options)
        return self.kept[key]


@dataclass
class PortSide:
    """A port that is asked what its Keras model is asked.

    Attributes:
        asked: The port.
        mapping: Of its modules.
        form: Of its inputs and of its outputs, each of `FORMS`.
        order: Of its inputs, by their places in the model.
        batches: For each step "inputs 0", "targets 0" and so on, as the model takes them; one for
            all steps where the port is called.
        weights: The model's first weights, by path.
        outputs: What each output of its model is, one of `OUTPUTS`.
        places: By the outputs of the model, the places of the port's; of none, as they are.
        axes: By the path of a module, where it has its axes, of those whose class does not say so.
        kept: What it has answered so far.
        known_frozen: Paths of the modules that its own training leaves in inference, once asked.
    """

    asked: AskedModule
    mapping: ModelMapping
    form: tuple[str, str]
    order: tuple[int, ...]
    batches: Sequence[Arrays]
    weights: Arrays
    outputs: tuple[str, ...] = ("as it is",)
    places: tuple[int, ...] = ()
    axes: Mapping[str, str] = field(default_factory=dict)
    kept: Answers = field(default_factory=Answers)
    known_frozen: list[str] | None = None

    def changed(self, changes: Sequence[Mapping[str, Any]], steps: int = STEPS) -> "PortSide":
        """Return the port with changes made in what its program calls, for some steps."""
        asked = replace(self.asked, changes=changes, steps=steps)
        return replace(self, asked=asked, kept=Answers())

    def calls(self) -> tuple[list[dict[str, Any]], list[dict[str, Any]], list[dict[str, Any]]]:
        """Return the calls that compute the model, those of a step, and the optimizers."""
        noted = replace(self, asked=replace(self.asked, noted=True), kept=Answers())
        inside = noted.trace(True)[0]["noted"]
        noted.train()
        return inside, noted.kept["noted"], noted.kept["optimizers"]

    def _own(self) -> Arrays:
        """Return the model's first weights, by the names of the port."""
        return self.mapping.to_port(self.weights)

    def _inputs(self) -> Arrays:
        """Return the first inputs as the port takes them."""
        if self.asked.batches:
            own = self.asked.batches[0]
            return {name: array for name, array in own.items() if name.startswith("inputs")}
        held = numbered(self.batches[0], "inputs")
        taken = [given(self.form[0], held[place]) for place in self.order]
        return {f"inputs {i}": array for i, array in enumerate(taken)}

    def trace(
        self,
        training: bool,
        feed: Mapping[str, np.ndarray] | None = None,
        seed: int = 0,
        marked: bool = False,
    ) -> Any:
        """Return the calls of its units, given what each should return, and the arrays."""
        arrays = {**self._inputs(), **(feed or {})}
        frozen = self.frozen() if training else []
        options = {"training": training, "marked": marked, "frozen": frozen}
        said, found = self.asked.look("trace", self._own(), arrays, seed=seed, **options)
        return said, self._placed(found)

    def _placed(self, found: Arrays) -> Arrays:
        """Return arrays with the outputs in the order of the model's."""
        return found | {f"outputs {i}": found[f"outputs {p}"] for i, p in enumerate(self.places)}

    def unit_output(self, pair: Pairing, inputs: list[np.ndarray], training: bool) -> np.ndarray:
        """Return what one unit makes of the inputs of its layer, arranged as the layer's."""
        arrays = {f"input {i}": self.arranged(pair, array) for i, array in enumerate(inputs)}
        alone = training and pair.module["path"] not in self.frozen()
        options = {"unit": pair.module["path"], "training": alone}
        own = pair.to_port(self.weights)
        _, found = self.asked.look("unit_output", own, arrays, **options)
        return self.arranged_back(pair, found["output"])

    def train(self) -> Arrays:
        """Return losses, first gradients, weights and outputs, by the model's paths."""
        if "train" not in self.kept:
            targets = numbered(self.batches[0], "targets")
            order = self.places or range(len(targets))
            targets = [targets[order.index(i)] for i in range(len(targets))]
            arranged = [given(self.form[1], t) if t.ndim > 3 else t for t in targets]
            said, found = self.asked.train(self._own(), self._inputs(), arranged)
            found = self._placed(found)
            steps = said["steps"]
            self.kept["steps"], self.kept["noise of the step"] = steps, said["noise"]
            self.kept["noted"], self.kept["optimizers"] = said.get("noted"), said.get("optimizers")
            last = len(steps) - 1
            kept: Arrays = {"losses": np.array([step["loss"] for step in steps])}
            if len(said["returned"]) == len(steps) and None not in said["returned"]:
                kept["returned losses"] = np.array(said["returned"])
            for prefix, name in (
                ("gradient ", "0 gradient "),
                ("first ", "0 after "),
                ("last ", f"{last} after "),
            ):
                own = {k.removeprefix(name): a for k, a in found.items() if k.startswith(name)}
                back = self.mapping.to_keras(own, gradient=prefix == "gradient ")
                kept |= {f"{prefix}{path}": array for path, array in back.items()}
            outputs = enumerate(numbered(found, "outputs"))
            kept |= {f"outputs {i}": self.returned(i, array) for i, array in outputs}
            self.kept["train"] = kept
        return self.kept["train"]

    def steps(self) -> list[dict[str, Any]]:
        """Return what was said of each step of training."""
        self.train()
        return self.kept["steps"]

    def frozen(self) -> list[str]:
        """Return the paths of the modules that its own training leaves in inference."""
        if self.known_frozen is None:
            self.known_frozen = []
            with suppress(PortError):  # which is said where the step is judged
                self.known_frozen = self.steps()[0]["frozen"]
        return self.known_frozen

    def arranged(self, pair: Pairing, array: np.ndarray) -> np.ndarray:
        """Return an array of a Keras layer with its axes where a module of the port has them."""
        return np.ascontiguousarray(AXES[self._axes(pair)][0](array))

    def arranged_back(self, pair: Pairing, array: np.ndarray) -> np.ndarray:
        """Return an array of a module of the port with its axes where a Keras layer has them."""
        return AXES[self._axes(pair)][1](array)

    def _axes(self, pair: Pairing) -> str:
        told = [c for c in self.asked.changes if c["by"].get("name") == "batch_first"]
        for change in told:
            if change["path"] == pair.module["path"]:
                return "as it is" if change["by"]["value"] else "time first"
        axes = self.axes.get(pair.module["path"]) or axes_of_class(pair.module) or "as it is"
        both = axes == "channels first" and pair.unit.get("channels first")
        return "as it is" if both else axes

    def noise_of_step(self) -> list[str]:
        """Return each dropout of the first step of training."""
        self.train()
        return self.kept["noise of the step"]

    def returned(self, index: int, array: np.ndarray) -> np.ndarray:
        """Return one output as the Keras model returns it."""
        return OUTPUTS[self._output(index)][0](FORMS[self.form[1]][1](array))

    def expected(self, index: int, array: np.ndarray) -> np.ndarray:
        """Return one output of the model as it is compared."""
        return OUTPUTS[self._output(index)][1](array)

    def _output(self, index: int) -> str:
        return self.outputs[min(index, len(self.outputs) - 1)]
