"""The two sides of a comparison: what the Keras model answers, and what its port does."""

from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from parity_tests.check.messages import CHANNELS_FIRST_FROM, numbered
from parity_tests.models.mapping import ModelMapping
from parity_tests.models.moves import Arrays, Pairing
from parity_tests.models.reference import KerasProcess
from parity_tests.ports.process import Process

CHANNELS_FIRST = ("Conv", "BatchNorm", "SyncBatchNorm", "GroupNorm", "InstanceNorm", "PReLU")
STEPS = 5
"""Of training, enough for a schedule that is one step off to show."""


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
        kept: Answers, by question and mistakes.
    """

    process: KerasProcess
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
        return self._ask("train", (), steps=STEPS)[0]["noise"]

    def marked(self) -> Arrays:
        """Return the outputs in training where each dropout multiplies by 1 + its rate."""
        return self._ask("trace", (), training=True, window=(0, 0), marked=True)[1]

    def train(self, edits: Sequence[str] = (), steps: int = STEPS) -> Arrays:
        """Return losses, first gradients, weights and outputs."""
        if steps == 1 and ("train", STEPS, tuple(edits)) in self.kept:
            steps = STEPS
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
        process: Of the port.
        mapping: Of its modules.
        form: Of its inputs and of its outputs, each of `CHANNELS_FIRST_FROM`.
        order: Of its inputs, by their places in the model.
        batch: Inputs and targets, by name.
        weights: The model's first weights, by path.
        outputs: What each output of its model is, one of `OUTPUTS`.
        places: By the outputs of the model, the places of the port's; of none, as they are.
        axes: By the path of a module, where it has its axes, of those whose class does not say so.
        kept: What it has answered so far.
        session: In which single units are asked.
    """

    process: Process
    mapping: ModelMapping
    form: tuple[str, str]
    order: tuple[int, ...]
    batch: Arrays
    weights: Arrays
    outputs: tuple[str, ...] = ("as it is",)
    places: tuple[int, ...] = ()
    axes: Mapping[str, str] = field(default_factory=dict)
    kept: Answers = field(default_factory=Answers)
    session: int = 0

    def begin(self, seed: int = 0) -> int:
        """Begin anew, with the model's weights; return the session."""
        session = self.process.begin(seed, dropout=False)
        self.process.ask("load_weights", self.mapping.to_port(self.weights), session=session)
        return session

    def trace(
        self,
        training: bool,
        feed: Mapping[str, np.ndarray] | None = None,
        seed: int = 0,
        marked: bool = False,
    ) -> Any:
        """Return the calls of its units, given what each should return, and the arrays."""
        session = self.begin(seed)
        arrays = {**self.batch, **(feed or {})}
        options = {"form": self.form, "training": training, "marked": marked, "session": session}
        said, found = self.process.ask("trace", arrays, **options)
        return said, self._placed(found)

    def _placed(self, found: Arrays) -> Arrays:
        """Return arrays with the outputs in the order of the model's."""
        return found | {f"outputs {i}": found[f"outputs {p}"] for i, p in enumerate(self.places)}

    def unit_output(self, pair: Pairing, inputs: list[np.ndarray], training: bool) -> np.ndarray:
        """Return what one unit makes of the inputs of its layer, arranged as the layer's."""
        if self.session != self.process.sessions:  # only the latest is kept
            self.session = self.begin()
        given = [self.arranged(pair.module, array) for array in inputs]
        arrays = {f"input {i}": array for i, array in enumerate(given)}
        options = {
            "unit": pair.module["path"],
            "training": training,
            "session": self.session,
        }
        output = self.process.ask("unit_output", arrays, **options)[1]["output"]
        return self.arranged_back(pair.module, output)

    def train(self) -> Arrays:
        """Return losses, first gradients, weights and outputs, by the model's paths."""
        if "train" not in self.kept:
            session = self.begin()
            options = {"form": self.form, "steps": STEPS, "session": session}
            said, found = self.process.ask("steps", self.batch, **options)
            found = self._placed(found)
            self.kept["noise of the step"] = said["noise"]
            kept = {name: array for name, array in found.items() if name.endswith("losses")}
            for prefix in ("gradient ", "first ", "last "):
                own = {k.removeprefix(prefix): a for k, a in found.items() if k.startswith(prefix)}
                back = self.mapping.to_keras(own, gradient=prefix == "gradient ")
                kept |= {f"{prefix}{path}": array for path, array in back.items()}
            outputs = enumerate(numbered(found, "outputs"))
            kept |= {f"outputs {i}": self.returned(i, array) for i, array in outputs}
            self.kept["train"] = kept
        return self.kept["train"]

    def arranged(self, module: Mapping[str, Any], array: np.ndarray) -> np.ndarray:
        """Return an array of a Keras layer with its axes where a module of the port has them."""
        return np.ascontiguousarray(AXES[self._axes(module)][0](array))

    def arranged_back(self, module: Mapping[str, Any], array: np.ndarray) -> np.ndarray:
        """Return an array of a module of the port with its axes where a Keras layer has them."""
        return AXES[self._axes(module)][1](array)

    def _axes(self, module: Mapping[str, Any]) -> str:
        return self.axes.get(module["path"]) or axes_of_class(module) or "as it is"

    def noise_of_step(self) -> list[str]:
        """Return each dropout of the first step of training."""
        self.train()
        return self.kept["noise of the step"]

    def returned(self, index: int, array: np.ndarray) -> np.ndarray:
        """Return one output as the Keras model returns it."""
        if array.ndim >= CHANNELS_FIRST_FROM[self.form[1]]:
            array = np.moveaxis(array, 1, -1)
        return OUTPUTS[self._output(index)][0](array)

    def expected(self, index: int, array: np.ndarray) -> np.ndarray:
        """Return one output of the model as it is compared."""
        return OUTPUTS[self._output(index)][1](array)

    def _output(self, index: int) -> str:
        return self.outputs[min(index, len(self.outputs) - 1)]


def _softmax(x: np.ndarray) -> np.ndarray:
    exponentials = np.exp(x - x.max(axis=-1, keepdims=True))
    return exponentials / exponentials.sum(axis=-1, keepdims=True)


Both = tuple[Callable[[np.ndarray], np.ndarray], Callable[[np.ndarray], np.ndarray]]
OUTPUTS: dict[str, Both] = {
    "as it is": (lambda x: x, lambda x: x),
    "logits of a softmax, the model probabilities": (_softmax, lambda x: x),
    "logits of a sigmoid, the model probabilities": (lambda x: 1 / (1 + np.exp(-x)), lambda x: x),
    "logarithms of probabilities, the model probabilities": (np.exp, lambda x: x),
    "logarithms of probabilities, the model logits": (np.exp, _softmax),
}
"""What a port may return, and what is compared of it and of the model, in the order of trial."""


def axes_of_class(module: Mapping[str, Any]) -> str | None:
    """Return where a module of PyTorch has its axes; None if its class does not say so."""
    if module["own"]:
        return None
    if module["class"].startswith(CHANNELS_FIRST):
        return "channels first"
    batch_first = module["config"].get("batch_first")
    return {True: "as it is", False: "time first", None: None}[batch_first]


AXES: dict[str, Both] = {
    "as it is": (lambda x: x, lambda x: x),
    "channels first": (
        lambda x: np.moveaxis(x, -1, 1) if x.ndim > 2 else x,
        lambda x: np.moveaxis(x, 1, -1) if x.ndim > 2 else x,
    ),
    "time first": (lambda x: np.swapaxes(x, 0, 1), lambda x: np.swapaxes(x, 0, 1)),
}
"""Where a module may have its axes: from those of a Keras layer to its own, and back."""
