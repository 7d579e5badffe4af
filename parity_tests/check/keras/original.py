"""The process that a Keras model runs in: loads its file once, and does what it is asked.

`python -m parity_tests.check.keras.original FD FLOATX FILE DATA` answers on a connection until it
is closed. The backend is that of KERAS_BACKEND. Everything runs eagerly, so that a hypothesis can
change what a layer, a loss or an optimizer holds, and change it back.
"""

import contextlib
import functools
import inspect
import os
import sys
from collections.abc import Iterator, Sequence
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import keras
import numpy as np

from parity_tests.check.answering import answer_calls
from parity_tests.check.keras import constants, units
from parity_tests.check.keras.edits import Edit, applicable, holding, remade
from parity_tests.check.keras.file import File
from parity_tests.check.keras.inputs import listed, names
from parity_tests.check.messages import UnusablePort, said_of_itself


def main() -> None:
    """Answer calls until the other end is closed."""
    connection, floatx, path, data = Connection(int(sys.argv[1])), *sys.argv[2:5]
    load = functools.cache(partial(Original, Path(path), floatx, Path(data)))

    def answer(arrays: dict, method: str, **options: Any) -> tuple[dict, dict]:
        return getattr(load(), method)(arrays, **options)

    answer_calls(connection, path, answer)


class Original(File):
    """The model of a file, which is asked what it computes, also with mistakes made in it.

    Args:
        path: Of a Python file, or of a model that Keras saved.
        floatx: The dtype that everything computes in.
        data: Holds MNIST in MNIST/raw, for a file that would download it.

    Raises:
        UnusablePort: If there is no model, or it is not clear which.
    """

    def __init__(self, path: Path, floatx: str, data: Path) -> None:
        super().__init__(path, floatx, data)
        self._compile()
        inputs, targets, _ = self.batches[0]
        outputs = self.model(self._tensors(inputs), training=False)  # which builds it
        self._require_labels(outputs)
        if self.model._compile_loss is not None:  # else its own train_step has one
            self.model.compute_loss(y=self._tensors(targets), y_pred=outputs)
        units.tell_apart(self.model)
        units.split_separable(self.model)
        self.began = self._values()
        self._require_the_loss_of_its_own_loop()
        constants.vary(self.model)
        self.first = self._values()
        self.optimizer = self.model.optimizer
        self._schedule()
        self._require_no_other_noise()
        self.known: list[Edit] = []

    def _compile(self) -> None:
        """Let everything run eagerly."""
        self.model.run_eagerly, self.model.jit_compile = True, False

    def _require_the_loss_of_its_own_loop(self) -> None:
        """Require that `compute_loss` is what a loop of the file's own took gradients of."""
        own = self.training.value if self.training is not None else None
        if own is None:
            return
        inputs, targets, weights = self.batches[0]
        outputs = self.model(self._tensors(inputs), training=True)
        loss = self.model.compute_loss(
            y=self._tensors(targets),
            y_pred=outputs,
            sample_weight=None if weights is None else self._tensors(weights),
        )
        value = float(keras.ops.convert_to_numpy(loss))
        if not abs(value - own) <= 1e-5 * abs(own):
            raise UnusablePort(
                f"its own loop takes gradients of {own:.6g}, where its loss and its penalties are "
                f"{value:.6g}: compile the model, and train it by fit"
            )
        self._assign(self.began)

    def _schedule(self) -> None:
        """Let callbacks set the rate of the first epoch."""
        callbacks = self.training.callbacks if self.training is not None else []
        self.later = [type(c).__name__ for c in callbacks if hasattr(c, "cooldown_counter")]
        self.schedules = [
            c.schedule for c in callbacks if isinstance(c, keras.callbacks.LearningRateScheduler)
        ]
        if self.schedules:
            self.optimizer.learning_rate = self._rate_of_epoch(0, self._rate())

    def _rate(self) -> float:
        return float(keras.ops.convert_to_numpy(self.optimizer.learning_rate))

    def _rate_of_epoch(self, epoch: int, rate: float) -> float:
        """Return the rate of an epoch, given that of the epoch before it."""
        for schedule in self.schedules:
            takes = len(inspect.signature(schedule).parameters)
            rate = float(schedule(*(epoch, rate)[:takes]))
        return rate

    def _require_no_other_noise(self) -> None:
        inputs = self._tensors(self.batches[0][0])
        runs = [listed("", self.model(inputs, training=True)) for _ in range(2)]
        if not all(np.allclose(runs[0][name], runs[1][name], equal_nan=True) for name in runs[0]):
            raise UnusablePort(
                "in training its outputs are random, although dropout is switched off: leave "
                "layers that alter the data at random out of the model"
            )

    def _values(self) -> dict[str, np.ndarray]:
        return {
            variable.path: keras.ops.convert_to_numpy(variable)
            for variable in self.model.variables
            if units.is_float(variable)
        }

    def describe(
        self, arrays: dict, apart: bool = False, groups: Sequence[Sequence[str]] = ()
    ) -> tuple[dict, dict]:
        """Return what the model is made of, and its first weights by path.

        Args:
            arrays: None.
            apart: Whether each projection of an attention is a unit, and not the whole attention.
            groups: Paths of units that are one, since the port has one layer for them.
        """
        attention = keras.layers.MultiHeadAttention
        whole = tuple(kind for kind in units.WHOLE if not (apart and kind is attention))
        self.units, self.groups = units.of(self.model, whole), groups
        said = {
            "units": units.joined([units.describe(unit) for unit in self.units], groups),
            "groups": groups,
            "trainable": [v.path for v in self.model.trainable_variables],
            "inputs": names(self.model, self.batches[0][0]),
            "averages": bool(self.optimizer.use_ema),
            **said_of_itself(self.names),
            "later": self.later,
            "parameters": int(self.model.count_params()),
        }
        return said, self.first

    def initial(self, arrays: dict) -> tuple[dict, dict]:
        """Return the weights that the file began with."""
        return {}, self.began

    def configs(self, arrays: dict) -> tuple[dict, dict]:
        """Return what the layers, the losses and the optimizer are configured with."""
        every = {id(part): part for part in units.walk(self.model)}.values()
        losses = keras.tree.flatten(self.model.loss)
        compiled = self.model.get_compile_config() or {}
        weights = [w for w in keras.tree.flatten(compiled.get("loss_weights")) if w is not None]
        said = {
            "layers": {layer.name: units.config(layer) for layer in every},
            "losses": [
                {"class": "weights", **{str(i): float(w) for i, w in enumerate(weights)}},
                *(units.config(loss) for loss in losses if hasattr(loss, "get_config")),
            ],
            "optimizer": units.config(self.optimizer),
        }
        return said, {}

    def load_weights(self, arrays: dict) -> tuple[dict, dict]:
        """Replace the first weights, and round constants otherwise, as a port may have done."""
        constants.round_otherwise(self.model)
        self.first = {path: arrays[path].astype(self.floatx) for path in self.first}
        return {}, {}

    def _assign(self, values: dict[str, np.ndarray]) -> None:
        for variable in self.model.variables:
            if variable.path in values:
                variable.assign(values[variable.path])

    def _begin(self) -> None:
        """Put the weights and the optimizer back to where they began."""
        self._assign(self.first)
        self.model.optimizer = remade(type(self.optimizer), self.optimizer)
        self.model.reset_metrics()

    @contextlib.contextmanager
    def _edited(self, edits: list[str]) -> Iterator[None]:
        """Make mistakes, by name, in the model that began anew."""
        self._begin()
        known = {edit.name: edit for edit in self._edits()} if edits else {}
        places = [place for name in edits for place in known[name].places]
        if len(set(places)) < len(places):
            raise UnusablePort("two mistakes cannot be made in one place")
        with contextlib.ExitStack() as stack:
            for name in edits:
                stack.enter_context(known[name].plant())
            yield

    def _edits(self) -> list[Edit]:
        self.known = self.known or applicable(self.model)
        return self.known

    def edits(self, arrays: dict) -> tuple[dict, dict]:
        """Return the mistakes that can be made in this model."""
        self._begin()
        return {"edits": [edit.said() for edit in self._edits()]}, {}

    def trace(
        self,
        arrays: dict,
        training: bool,
        edits: list[str],
        window: list[int],
        marked: bool = False,
    ) -> tuple[dict, dict]:
        """Return what goes into each unit and comes out of it, and what the model returns.

        Args:
            arrays: None.
            training: Whether in training, not in inference.
            edits: Mistakes that are made meanwhile.
            window: The first call of a unit whose arrays are wanted, and the one after the last.
            marked: Whether each dropout multiplies by 1 + its rate, which shows where it is.
        """
        order: list[list[Any]] = []
        self.noise.drawn = []
        with (
            self._edited(edits),
            holding(self.noise, marked=marked),
            units.traced(self.units, order) as calls,
        ):
            outputs = self.model(self._tensors(self.batches[0][0]), training=training)
        found = listed("outputs", outputs)
        joined = units.join_calls(calls, order, self.groups)
        for index, call in enumerate(joined):
            arrays = {
                f"call {index} input {i}": array for i, array in enumerate(call.pop("inputs"))
            }
            arrays |= {f"call {index} {name}": call.pop(name) for name in ("output", "returned")}
            if window[0] <= index < window[1]:
                found |= arrays
        return {"calls": joined, "order": order, "noise": self.noise.drawn}, found

    def shows(self, arrays: dict, edit: str, steps: int) -> tuple[dict, dict]:
        """Return whether a mistake leaves a trace in outputs, losses, weights or statistics."""
        self.right = self.right or list(self._traces([], steps))
        return {"shows": any(map(_differ, self._traces([edit], steps), self.right))}, {}

    def _traces(self, edits: list[str], steps: int) -> Iterator[list[np.ndarray]]:
        """Yield what a model leaves with some mistakes made, the cheapest first."""
        inputs = self._tensors(self.batches[0][0])
        with self._edited(edits):
            for training in (False, True):
                yield list(listed("", self.model(inputs, training=training)).values())
        with self._edited(edits):
            for step in range(steps):
                logs = self._step(step)
                values = self._values()
                moved = [values[path] - array for path, array in self.first.items()]
                yield [np.array(float(logs["loss"])), *moved]

    def rates(self, arrays: dict, steps: int) -> tuple[dict, dict]:
        """Return the learning rate of each step."""
        rate, training = self.optimizer._learning_rate, self.training
        each = 0
        if training is not None and training.data is not None:
            each = -(-len(keras.tree.flatten(training.data[0])[0]) // training.size)
        found: list[float] = []
        current = self._rate()
        for step in range(steps):
            if each and step and not step % each:
                current = self._rate_of_epoch(step // each, current)
            varies = isinstance(rate, keras.optimizers.schedules.LearningRateSchedule)
            found.append(float(keras.ops.convert_to_numpy(rate(step))) if varies else current)
        return {"rates": found}, {}

    def train(self, arrays: dict, steps: int, edits: list[str]) -> tuple[dict, dict]:
        """Train on the batch; return losses, first gradients, weights and outputs.

        Args:
            arrays: None.
            steps: How many.
            edits: Mistakes that are made meanwhile.
        """
        found: dict[str, np.ndarray] = {}
        losses = []
        self.noise.drawn = []
        with self._edited(edits), units.gradients_seen(self.model) as gradients:
            for step in range(steps):
                logs = self._step(step)
                losses.append(float(logs["loss"]))
                if step == 0:
                    noise, self.noise.drawn = self.noise.drawn, []
                    found |= {f"gradient {path}": array for path, array in gradients.items()}
                    found |= {f"first {path}": array for path, array in self._values().items()}
            found |= {f"last {path}": array for path, array in self._values().items()}
            inputs = self._tensors(self.batches[0][0])
            found |= listed("outputs", self.model(inputs, training=False))
        found["losses"] = np.array(losses, self.floatx)
        return {"noise": noise}, found

    def _step(self, number: int) -> Any:
        """Train on the batch of a step; where there is one for all, on that."""
        batch = self.batches[number % len(self.batches)]
        self.model.reset_metrics()
        return self.model.train_step(
            tuple(self._tensors(part) for part in batch if part is not None)
        )


VISIBLE = 1e-6
"""Relative difference from which on a mistake shows, whatever the rounding."""


def _differ(arrays: list[np.ndarray], right: list[np.ndarray]) -> bool:
    """Return whether arrays differ by more than rounding."""
    for one, other in zip(arrays, right, strict=True):
        if one.shape != other.shape:
            return True
        size = float(np.abs(other).max(initial=0)) or 1.0
        if not float(np.abs(one - other).max(initial=0)) <= VISIBLE * size:
            return True
    return False


if __name__ == "__main__":
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    main()
