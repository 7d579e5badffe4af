"""Checking the port of any Keras model: layer by layer, step by step, and why it differs."""

import io
import math
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, closing, redirect_stdout
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from parity_tests.check.messages import PortError, ProcessEnded, UnusablePort
from parity_tests.check.results import FAIL, NOT_JUDGED, PASS, Verdicts, print_wrapped
from parity_tests.models.compared import Compared
from parity_tests.models.draws import Draws
from parity_tests.models.explain import ModelSearch, cannot_tell, grouped
from parity_tests.models.ladder import RUNGS, ModelLadder
from parity_tests.models.mapping import possible
from parity_tests.models.reference import KerasProcess
from parity_tests.models.settle import Settling
from parity_tests.models.sides import KerasSide
from parity_tests.ports.process import Process
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
    model: str | None = None,
    step: str | None = None,
    device: str = "cpu",
    limit: float = 120.0,
    python: str = sys.executable,
) -> Verdicts:
    """Judge a port beside its Keras model, print what is found, and return it."""
    for path, what in ((port, "PyTorch port"), (reference, "Keras model")):
        check_input(path, f"a file with a {what}")
    verdicts = Verdicts({rung: rung for rung in ("noise", *RUNGS)})
    with ExitStack() as stack:

        def start(floatx: str, backend: str) -> KerasProcess:
            process = KerasProcess(reference, floatx, backend, python, 5 * limit)
            return stack.enter_context(closing(process))

        truth = start("float64", "tensorflow")
        truth.send("describe")
        process = stack.enter_context(closing(Process(port, device, model, step, limit)))
        examination = _Examination(verdicts, truth, process, dtype)
        examination.settle()
        kinds = [("float64", "torch"), ("float32", "tensorflow")]
        examination.measure(start(*kind) for kind in kinds[: 1 + (dtype == "float32")])
        examination.judge()
    return verdicts


VAGUE = 0.1
"""Bound from which on agreement proves nothing."""
FAR = 1000
"""How much more a difference within is than a bound that cannot hide what it leads to."""
WITHIN = ("layers", "between")
OF_WHOLE = ("outputs", "loss", "gradients", "update", "trajectory")


class _Examination:
    """A port beside its Keras model.

    Args:
        verdicts: Takes what is found.
        truth: The process of the model in float64, which was asked to describe itself.
        process: Of the port.
        dtype: Of the port.
    """

    def __init__(
        self, verdicts: Verdicts, truth: KerasProcess, process: Process, dtype: str
    ) -> None:
        self.verdicts, self.process, self.dtype = verdicts, process, dtype
        _, self.weights = truth.receive()
        self.truth = KerasSide(truth)
        self.edits: list[dict[str, Any]] = truth.ask("edits")[0]["edits"]

    def settle(self) -> None:
        """Find the batch, the form of the inputs and the mapping that give the model's numbers."""
        process, truth = self.process, self.truth.process
        name = process.held["models"][0]
        said, _ = process.ask("configure", model=name, dtype=self.dtype)
        kinds = {unit["class"] for unit in said["units"]}
        self.apart = "MultiheadAttention" not in kinds
        self.described, _ = truth.ask("describe", apart=self.apart)
        brings, self.batch = truth.ask("batch")
        if said["brings"] and not brings["brings"]:
            self.batch = process.ask("brought")[1]
            truth.ask("use_batch", self.batch)
        settling = Settling(
            self.truth, process, self.dtype, self.described, self.weights, self.batch
        )
        if groups := settling.groups(said):
            self.described, _ = truth.ask("describe", apart=self.apart, groups=groups)
            self.truth.kept.clear()
            settling.described = self.described
        self.port = settling.settle(said)
        self.edits = possible(self.edits, self.port.mapping.pairings)
        self._say(name)

    def _say(self, name: str) -> None:
        parameters, how = self.described["parameters"], self.port.mapping.how
        inputs, outputs = self.port.form
        self.verdicts.say(
            f"judged: {name}, trained by {self.process.held['step']}, in {self.dtype}, with inputs "
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

    def measure(self, yards: Iterable[KerasProcess]) -> None:
        """Ask the yardsticks, one after the other; where one cannot answer, say so.

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
        for yard in yards:
            side = KerasSide(yard)
            try:
                yard.ask("describe", apart=self.apart, groups=self.described["groups"])
                yard.ask("use_batch", self.batch)
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
        """Judge each rung, and explain those that fail."""
        self.search = ModelSearch(self.ladder, self.edits)
        made: list[str] = []
        for rung in RUNGS if self._judge_noise() else ():
            made += self._judge(rung, made)
        self.search.judged = [rung for rung in self.verdicts.judged if rung in RUNGS]
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
