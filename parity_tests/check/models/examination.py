"""Checking the port of any Keras model: layer by layer, step by step, and why it differs."""

import io
import math
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing, redirect_stdout, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from parity_tests.check.messages import PortError, ProcessEnded, UnusablePort
from parity_tests.check.models.asking import AskedModule, find_module
from parity_tests.check.models.compared import Compared
from parity_tests.check.models.data import Data
from parity_tests.check.models.draws import Draws
from parity_tests.check.models.explain import ModelSearch, cannot_tell, grouped
from parity_tests.check.models.ladder import RUNGS, ModelLadder
from parity_tests.check.models.mapping import possible
from parity_tests.check.models.moves import Arrays
from parity_tests.check.models.reference import KerasProcess
from parity_tests.check.models.settle import Settling
from parity_tests.check.models.sides import KerasSide
from parity_tests.check.process import Process
from parity_tests.check.results import FAIL, NOT_JUDGED, PASS, Verdicts, print_wrapped
from parity_tests.program.files import check_input
from parity_tests.traps.finding import Finding


def assert_same_training(port: Path | str, reference: Path | str, dtype: str = "float64") -> None:
    """Raise an error if a port is not the same training as its Keras model.

    Args:
        port: The Python file with the PyTorch port.
        reference: The Python file with the Keras model, or a .keras file.
        dtype: Of the port: "float64", where mistakes stand out most clearly, or "float32".

    Raises:
        AssertionError: If it is another training; the message says where it differs, and why.
        RuntimeError: If it could not be judged.
    """
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
    for path, what in ((port, "PyTorch port"), (reference, "Keras model")):
        check_input(path, f"a file with a {what}")
    verdicts = Verdicts({rung: rung for rung in ("data", "noise", *RUNGS)})
    with ExitStack() as stack:

        def start(floatx: str, backend: str) -> KerasProcess:
            process = KerasProcess(reference, floatx, backend, python, data, 5 * limit)
            return stack.enter_context(closing(process))

        truth = start("float64", "tensorflow")
        truth.send("describe")
        options: dict[str, Any] = {"double": dtype == "float64", "model": model, "step": step}
        process = stack.enter_context(
            closing(Process(port, data, of_keras=True, limit=limit, **options))
        )
        asked = find_module(process)
        kinds = [("float64", "torch"), ("float32", "tensorflow")]
        try:
            weights = truth.receive()[1]
        except UnusablePort:
            raise
        except PortError as error:
            kinds = [("float32", "torch")]
            truth = _elsewhere(error, start)
            weights = truth.ask("describe")[1]
            verdicts.say(
                "TensorFlow cannot compute this model in float64: the truth is Keras on PyTorch"
            )
        yards = (start(*kind) for kind in kinds if dtype == "float32" or "float64" in kind)
        examination = _Examination(verdicts, truth, weights, yards, asked, dtype)
        examination.settle()
        examination.judge()
    return verdicts


def _elsewhere(problem: PortError, start: Callable[[str, str], KerasProcess]) -> KerasProcess:
    """Return the process of a model that TensorFlow cannot compute, on PyTorch.

    Raises:
        PortError: The problem, if PyTorch cannot either.
    """
    truth = start("float64", "torch")
    try:
        truth.ask("describe")
    except (PortError, ProcessEnded):
        raise problem from None
    return truth


VAGUE = 0.1
"""Bound from which on agreement proves nothing."""
FAR = 1000
"""How much more a difference within is than a bound that cannot hide what it leads to."""
PENALTY = "loss: the penalty on the weights is missing"
"""The name of a mistake."""
WITHIN = ("layers", "between")
OF_WHOLE = ("outputs", "loss", "gradients", "update", "trajectory")


class _Examination:
    """A port beside its Keras model.

    Args:
        verdicts: Takes what is found.
        truth: The process of the model in float64.
        weights: Its first weights, by path.
        yards: Processes of the model elsewhere, started where a difference has to be weighed.
        asked: The port.
        dtype: Of the port.
    """

    def __init__(
        self,
        verdicts: Verdicts,
        truth: KerasProcess,
        weights: Arrays,
        yards: Iterator[KerasProcess],
        asked: AskedModule,
        dtype: str,
    ) -> None:
        self.verdicts, self.asked, self.dtype = verdicts, asked, dtype
        self.yards, self.weights = yards, weights
        self.truth = KerasSide(truth)
        self.edits: list[dict[str, Any]] = truth.ask("edits")[0]["edits"]

    def settle(self) -> None:
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
        self._say()

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
        for yard in self.yards:
            side = KerasSide(yard, self.truth.steps)
            try:
                yard.ask("describe", apart=self.apart, groups=self.described["groups"])
                self.data.send(yard)
                yard.ask("load_weights", self.weights)
                for training in (False, True):
                    side.trace(training)
                side.train()
                self.ladder.yards = [*self.ladder.yards, side]
            except (PortError, ProcessEnded) as error:
                if yard.floatx == "float32":  # without it nothing says how much rounding may do
                    raise
                self.verdicts.say(f"a yardstick is missing, so bounds are narrower: {error}")
            yard.close()

    def judge(self) -> None:
        """Judge each rung, and explain those that fail.

        Raises:
            UnusablePort: If the model's own numbers are not finite.
        """
        trainable = frozenset(self.described["trainable"])
        self.ladder = ModelLadder(self.truth, (), self.port, self.dtype, trainable)
        own = [self.truth.trace(True)[1]["outputs 0"], *self.truth.train().values()]
        if not all(np.isfinite(array).all() for array in own):
            raise UnusablePort(
                f"{self.truth.process.path}: its own outputs, loss or weights are not finite with "
                "this batch: bring another one by batch()"
            )
        self.search = ModelSearch(self.ladder, self.edits)
        made: list[str] = []
        for rung in RUNGS if self._judge_noise() else ():
            made += self._judge(rung, made)
        self.search.judged = [rung for rung in self.verdicts.judged if rung in RUNGS]
        if self._decays():
            for rung in self.verdicts.failed:
                said = "but that the update has the penalty on the weights, and the loss has not"
                self.verdicts.add(rung, PASS, said)
            self.ladder.unseen.add("the losses after the first step, which lack the penalty")
        if any(rung in RUNGS for rung in self.verdicts.failed):
            found = self.search.explain()
            self.verdicts.shown["hypotheses"] = self.search.tried
            if place := self._otherwise(found):
                for rung in self.verdicts.failed:
                    said = f"{place} is another, and all that follows agrees"
                    self.verdicts.add(rung, NOT_JUDGED, f"{said}")
            else:
                self.verdicts.findings += self._explained(found)
        for finding in self.verdicts.findings:
            print_wrapped(f"-> {finding}", indent=3)
        if self.described["averages"]:
            self.ladder.unseen.add("the average of the weights (use_ema), which fit puts in place")
        self.verdicts.parts = sorted(self.ladder.unseen)
        for part in self.verdicts.parts:
            print_wrapped(f"not judged: {part}")
        if not self.verdicts.failed:
            self.verdicts.cannot_tell = list(cannot_tell(self.ladder, self.edits))
        for name in self.verdicts.cannot_tell:
            print_wrapped(f"with this batch the check cannot tell: {name}")

    def _decays(self) -> bool:
        """Return whether the port has the model's penalty in its update, as a weight decay.

        Then its loss and its gradients lack it, and all weights agree.
        """
        failed = self.verdicts.failed
        if PENALTY not in {edit["name"] for edit in self.edits} or "loss" not in failed:
            return False
        if not {*failed} <= {"loss", "gradients", "trajectory"}:
            return False
        weights = self.ladder.compared("trajectory", [])
        later = all(not c.fails or c.label.startswith("losses") for c in weights)
        without = (c for r in ("loss", "gradients") for c in self.ladder.compared(r, [], [PENALTY]))
        return later and not any(compared.fails for compared in without)

    def _otherwise(self, found: Sequence[Finding]) -> str:
        """Return what a port computes in another way, as a last layer before pooling; "" of none.

        It differs within, by far more than the rungs of the whole leave room for, no mistake makes
        the model do so, and all of those rungs agree.
        """
        compared = self.verdicts.shown["compared"]
        within = [c for c in compared if c["rung"] in WITHIN and not c["difference"] <= c["bound"]]
        room = max((c["bound"] for c in compared if c["rung"] not in WITHIN), default=math.inf)
        if (
            set(self.verdicts.failed) <= set(WITHIN)
            and all(self.verdicts.status(rung) == PASS for rung in OF_WHOLE)
            and not any(finding.mistakes for finding in found)
            and min(c["difference"] for c in within) > FAR * room
        ):
            return str(within[0]["label"])
        return ""

    def _explained(self, found: Sequence[Finding]) -> Iterator[str]:
        if missing := self.search.missing():
            said = " and ".join(grouped(missing))
            yield f"mapping: {said}, since the port has no such weight"
        for finding in found:
            mistakes, others = grouped(finding.mistakes), grouped(finding.alternatives)
            yield str(replace(finding, mistakes=mistakes, alternatives=others))

    def _judge_noise(self) -> bool:
        """Judge what is switched off in all that follows; return whether nothing else is drawn."""
        draws = Draws(self.port, self.truth)
        if draws.draws_others():
            said = "the port draws random numbers otherwise than by dropout: no more can be judged"
            if any(of.startswith("Gaussian") for of in self.truth.noise(True)):  # as torch has none
                self.verdicts.add("noise", NOT_JUDGED, f"{said}")
            else:
                self._fail_noise(said)
            return False
        if wrong := draws.differences():
            self._fail_noise(*wrong)
        elif self.truth.noise(True):
            judged, left = draws.judged()
            self.ladder.unseen.update(left)
            self.verdicts.add("noise", PASS, f"by {judged}; it is switched off in what follows")
        return True

    def _fail_noise(self, *said: str) -> None:
        self.verdicts.add("noise", FAIL, f"{'; '.join(said)}")
        self.verdicts.findings += [f"noise: {text}" for text in said]

    def _judge(self, rung: str, made: list[str]) -> list[str]:
        """Judge a rung; return the mistake that is the framework's own, if that explains it."""
        try:
            every = list(self.ladder.compared(rung, made))
            if any(compared.fails for compared in every):  # else no bound has to be measured
                self._measure()
                every = list(self.ladder.compared(rung, made))
        except PortError as error:
            self.verdicts.add(rung, NOT_JUDGED, f"{error}")
            return []
        if not every:
            if rung != "statistics":
                self.verdicts.add(rung, NOT_JUDGED, "nothing to compare")
            return []
        if rung in ("gradients", "update") and not any(c.truth.any() for c in every):
            self.verdicts.add(rung, NOT_JUDGED, "all are 0 in the model, which proves nothing")
            return []
        self._say_ambiguous(every)
        wrong = [compared for compared in every if compared.fails]
        own = self.search.of_framework(rung, made) if wrong else []
        with_own = list(self.ladder.compared(rung, [*made, *own])) if own else every
        if right := own and not any(compared.fails for compared in with_own):
            every = with_own
        self.verdicts.shown["compared"] += [{"rung": rung, **c.as_json()} for c in every]
        if right:
            self.verdicts.add(rung, PASS, f"but that {' and '.join(grouped(own))}")
            return own
        worst = max(every, key=lambda c: c.difference / c.bound if c.bound else np.inf)
        if not wrong and all(c.bound > VAGUE for c in every):
            least = min(c.bound for c in every)
            self.verdicts.add(rung, NOT_JUDGED, f"a port may be off by {least:.0e} here")
            return []
        if vague := [c.bound for c in every if c.bound > VAGUE]:
            where = f"{len(vague)} tensors of {rung}, where a port may be off"
            self.ladder.unseen.add(f"{where} by up to {max(vague):.0e}")
        if wrong:
            first = wrong[0]
            others = f" ({len(wrong)} of {len(every)} tensors differ)" if len(wrong) > 1 else ""
            self.verdicts.add(rung, FAIL, f"{first.label}{others}\n  {first.message}")
        else:
            shown = f"worst {worst.difference:.0e} of {worst.bound:.0e}"
            self.verdicts.add(rung, PASS, f"({len(every)} tensors, {shown})")
        return []

    def _say_ambiguous(self, every: list[Compared]) -> None:
        unsure = [compared for compared in every if compared.own > 1e-4]
        if self.dtype == "float64" and unsure:
            worst = max(unsure, key=lambda compared: compared.own)
            others = f", as do {len(unsure) - 1} others by less" if len(unsure) > 1 else ""
            self.verdicts.say(
                f"Keras itself is ambiguous here: {worst.label} differs by {worst.own:.0e} between "
                f"its backends tensorflow and torch{others}"
            )
