"""Checking the port of any Keras model: layer by layer, step by step, and why it differs."""

import io
import sys
from collections.abc import Callable
from contextlib import ExitStack, closing, redirect_stdout, suppress
from pathlib import Path
from typing import Any

import numpy as np

from parity_tests.check.book.asking import UnchangedError
from parity_tests.check.book.examination import unchanged
from parity_tests.check.messages import SAVED, OtherLayers, PortError, ProcessEnded, UnusablePort
from parity_tests.check.models.asking import AskedModule, find_module
from parity_tests.check.models.data import Data
from parity_tests.check.models.judging import Judging
from parity_tests.check.models.ladder import RUNGS, ModelLadder
from parity_tests.check.models.mapping import possible
from parity_tests.check.models.moves import Arrays
from parity_tests.check.models.reference import RECORDING, KerasProcess, Recording, Reference
from parity_tests.check.models.settle import Settling
from parity_tests.check.models.sides import KerasSide
from parity_tests.check.process import Process
from parity_tests.check.results import FAIL, Observation, Verdicts, print_wrapped
from parity_tests.program.files import check_input

DTYPES = ("float32", "float64")


def assert_same_training(port: Path | str, reference: Path | str, dtype: str = "float64") -> None:
    """Raise an error if a port is not the same training as its Keras model.

    Args:
        port: The Python file with the PyTorch port.
        reference: The Python file with the Keras model, or a .keras file.
        dtype: Of the port: "float64", where mistakes stand out most clearly, or "float32".

    Raises:
        AssertionError: If it is another training; the message says where it differs, and why.
        RuntimeError: If it could not be judged.
        TypeError: If a file is not named by a path or a string.
        ValueError: If the dtype is another.
    """
    __tracebackhide__ = True  # so that pytest shows the test, and not this function
    for name, path in (("port", port), ("reference", reference)):
        if not isinstance(path, str | Path):
            raise TypeError(f"{name} is a {type(path).__name__}: expected the path of a file")
    if dtype not in DTYPES:
        raise ValueError(f"dtype is {dtype!r}: expected {' or '.join(map(repr, DTYPES))}")
    text = io.StringIO()
    with redirect_stdout(text):
        verdicts = examine(Path(port), Path(reference), dtype)
    conclusion = verdicts.conclusion(str(port))
    if verdicts.failed:
        raise AssertionError(f"{conclusion}\n{text.getvalue()}")
    if not verdicts.usable:
        raise UnusablePort(conclusion)


def examine(
    port: Path,
    reference: Path,
    dtype: str,
    *,
    data: Path = Path("data"),
    model: str | None = None,
    step: str | None = None,
    limit: float = 120.0,
    python: str = sys.executable,
) -> Verdicts:
    """Judge a port beside its Keras model, print what is found, and return it."""
    _require_files(port, reference, dtype)
    verdicts = Verdicts({rung: rung for rung in ("data", "noise", *RUNGS, "loop")})
    with ExitStack() as stack:

        def start(floatx: str, backend: str) -> Reference:
            if reference.suffix == RECORDING:
                return Recording(reference, floatx, backend)
            process = KerasProcess(reference, floatx, backend, python, 5 * limit, data)
            return stack.enter_context(closing(process))

        truth = start("float64", "tensorflow")
        truth.send("describe")
        options: dict[str, Any] = {"double": dtype == "float64", "model": model, "step": step}
        process = stack.enter_context(
            closing(Process(port, data, of_keras=True, limit=limit, **options))
        )
        try:
            asked = find_module(process)
        except UnchangedError as error:
            return unchanged(verdicts, "update", port, error.args[0])
        truth, weights = _answering(truth, start, verdicts)
        try:
            _Examination(verdicts, truth, weights, start, asked, dtype).judge()
        except CannotTrainError:
            truth, weights = _on_torch(start, verdicts)
            _Examination(verdicts, truth, weights, start, asked, dtype).judge()
    return verdicts


class CannotTrainError(Exception):
    """TensorFlow computes the outputs of a model, and not its gradients."""


def _require_files(port: Path, reference: Path, dtype: str) -> None:
    """Require that there are files, and that they are not those of the other side.

    Raises:
        UnusablePort: If one names the other side's framework, and not its own.
    """
    for path, what in ((port, "PyTorch port"), (reference, "Keras model")):
        check_input(path, f"a file with a {what}")
    if reference.suffix == RECORDING and dtype != "float64":
        raise UnusablePort(f"{reference} was recorded in float64: check with --dtype float64")
    for path, own, other in ((port, "torch", "keras"), (reference, "keras", "torch")):
        text = (
            "" if path.suffix in (*SAVED, RECORDING) else path.read_text("utf-8", errors="ignore")
        )
        if own not in text.lower() and f"import {other}" in text.replace("from", "import"):
            raise UnusablePort(
                f"{path} is of {other.title()}: the file of the PyTorch port comes first, and that "
                "of the Keras model after --reference"
            )


def _answering(
    truth: Reference, start: Callable[[str, str], Reference], verdicts: Verdicts
) -> tuple[Reference, Arrays]:
    """Return the process that can compute the model in float64, and its first weights."""
    try:
        return truth, truth.receive()[1]
    except UnusablePort:
        raise
    except PortError as problem:  # such as a pooling that TensorFlow has not in float64
        try:
            return _on_torch(start, verdicts)
        except (PortError, ProcessEnded):
            raise problem from None


def _on_torch(
    start: Callable[[str, str], Reference], verdicts: Verdicts
) -> tuple[Reference, Arrays]:
    """Return the process that computes the model by Keras on PyTorch, and its first weights."""
    process = start("float64", "torch")
    weights = process.ask("describe")[1]
    verdicts.say("TensorFlow cannot compute this model in float64: the truth is Keras on PyTorch")
    return process, weights


AMBIGUOUS = 1e-3
"""Relative difference of losses from which on Keras's backends do not mean the same."""
MANY = 50
"""Numbers of a tensor from which on its spread says how it was drawn."""


class _Examination:
    """A port beside its Keras model.

    Args:
        verdicts: Takes what is found.
        truth: The process of the model in float64.
        weights: Its first weights, by path.
        start: Starts a process of the model in a dtype, on a backend of Keras.
        asked: The port.
        dtype: Of the port.
    """

    def __init__(
        self,
        verdicts: Verdicts,
        truth: Reference,
        weights: Arrays,
        start: Callable[[str, str], Reference],
        asked: AskedModule,
        dtype: str,
    ) -> None:
        self.verdicts, self.asked, self.dtype = verdicts, asked, dtype
        self.start, self.weights = start, weights
        # The yardsticks, which are started where a difference has to be weighed.
        kinds = [("float64", "torch"), ("float32", truth.backend)][: 1 + (dtype == "float32")]
        self.kinds = [kind for kind in kinds if kind != ("float64", truth.backend)]
        self.truth = KerasSide(truth)
        self.edits: list[dict[str, Any]] = truth.ask("edits")[0]["edits"]

    def _settle(self) -> None:
        """Find the batch, the form of the inputs and the mapping that give the model's numbers."""
        asked, truth = self.asked, self.truth.process
        kinds = {unit["class"] for unit in asked.said["units"]}
        self.apart = "MultiheadAttention" not in kinds
        self.described, _ = truth.ask("describe", apart=self.apart)
        self.data = Data(self.verdicts, asked, truth, self.described)
        self.data.choose()
        settling = Settling(
            *(self.truth, asked, self.dtype, self.described, self.weights),
            *(self.data.batches, self.data.form),
        )
        if groups := settling.groups():
            self.described, _ = truth.ask("describe", apart=self.apart, groups=groups)
            self.truth.kept.clear()
            settling.described = self.described
        self.port = settling.settle()
        self.edits = possible(self.edits, self.port.mapping.pairings)
        with suppress(PortError):  # which is said where the step is judged
            self.truth.steps = len(self.port.steps())

    def _say(self) -> None:
        parameters, how = self.described["parameters"], self.port.mapping.how
        inputs, outputs = self.port.form
        self.verdicts.say(
            f"judged: {self.asked.name}, {self.asked.trained_by}, in {self.dtype}, with inputs "
            f"{inputs}, beside a Keras model of {parameters:,} parameters"
        )
        if outputs != inputs:
            self.verdicts.say(f"the port returns its outputs {outputs}")
        if (names := self.described["inputs"]) and self.port.order != tuple(range(len(names))):
            given = ", ".join(names[place] for place in self.port.order)
            self.verdicts.say(f"the port takes the inputs in the order {given}")
        print(f"mapping, {how}:")
        for line in self.port.mapping.lines():
            print_wrapped(line, indent=4)
        self.verdicts.shown["mapping"] = self.port.mapping.rows()
        for output in dict.fromkeys(self.port.outputs):
            if output != "as it is":
                self.verdicts.say(f"the port returns {output}")
        pairs = self.port.mapping.pairings
        missing = [pair.path(role) for pair in pairs for role in pair.missing]
        if missing:
            self.verdicts.say(f"the port has no {', '.join(missing)}")

    def _measure(self) -> None:
        """Ask the yardsticks, one after the other; where one cannot answer, say so."""
        while self.kinds:
            self._measure_with(*self.kinds.pop(0))

    def _measure_with(self, floatx: str, backend: str, *, rounded: bool = False) -> None:
        yard = self.start(floatx, backend)
        side = KerasSide(yard, self.truth.steps)
        try:
            yard.ask("describe", apart=self.apart, groups=self.described["groups"])
            self.data.send(yard, rounded)
            yard.ask("load_weights", self.weights)
            for training in (False, True):
                side.trace(training)
            (loss, *_), (right, *_) = side.train()["losses"], self.truth.train()["losses"]
        except (PortError, ProcessEnded) as error:
            if floatx == "float32":  # without it nothing says how much rounding may do
                raise
            self.verdicts.say(f"a yardstick is missing, so bounds are narrower: {error}")
        else:
            if abs(loss - right) > AMBIGUOUS * abs(right) and floatx == "float64":
                self.verdicts.say(
                    f"Keras itself is ambiguous here: its loss is {right:.6g} on tensorflow, and "
                    f"{loss:.6g} on torch; the yardstick is tensorflow, given rounded inputs"
                )
                self._measure_with("float64", self.truth.process.backend, rounded=True)
            else:
                self.ladder.yards = [*self.ladder.yards, side]
        yard.close()

    def judge(self) -> None:
        """Judge the port: its layers as a whole, then each rung, and explain those that fail.

        Raises:
            UnusablePort: If the model's own numbers are not finite.
            CannotTrainError: If TensorFlow cannot compute its gradients.
        """
        try:
            self._settle()
        except OtherLayers as error:
            self.verdicts.add("layers", FAIL, str(error))
            self.verdicts.find(Observation("layers", "the network is another"))
            return
        trainable = frozenset(self.described["trainable"])
        self.ladder = ModelLadder(self.truth, (), self.port, self.dtype, trainable)
        try:
            own = [self.truth.trace(True)[1]["outputs 0"], *self.truth.train().values()]
        except PortError:
            if self.truth.process.backend == "torch" or self.truth.process.path.suffix == RECORDING:
                raise
            raise CannotTrainError from None
        self._say()
        if not all(np.isfinite(array).all() for array in own):
            raise UnusablePort(
                f"{self.truth.process.path}: its own outputs, loss or weights are not finite with "
                "this batch: bring another one by batch()"
            )
        self._say_initial()
        if self.described["later"]:
            names = " and ".join(self.described["later"])
            self.ladder.unseen.add(f"what {names} changes after the first epoch")
        if self.described["averages"]:
            self.ladder.unseen.add("the average of the weights (use_ema), which fit puts in place")
        parameters = self.described["parameters"]
        Judging(self.verdicts, self.ladder, self.edits, parameters, self._measure).judge()

    def _say_initial(self) -> None:
        """Say how the weights that the port begins with differ from those of the model's file."""
        model = self.port.mapping.to_port(self.truth.process.ask("initial")[1])
        own = self.asked.weights
        other = [
            name for name in model if name in own and not np.array_equal(model[name], own[name])
        ]
        if not other:
            return
        random = [n for n in other if not np.ptp(model[n]) and np.ptp(own[n])]
        spread = [n for n in other if n not in random and own[n].size >= MANY]
        ratios = {n: float(own[n].std() / model[n].std()) for n in spread if model[n].std()}
        shown = [f"{n} is random, and {model[n].flat[0]:g} in the model" for n in random[:1]]
        far = sorted(ratios, key=lambda name: abs(np.log(ratios[name] or 1e-9)))[-1:]
        shown += [
            f"{n} varies {ratios[n]:.2g} times as much" for n in far if abs(ratios[n] - 1) > 0.2
        ]
        how = f": {' and '.join(shown)}" if shown else ""
        self.ladder.unseen.add(f"the initial weights, which each side draws for itself{how}")
