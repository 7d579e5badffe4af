"""Checking the port of any Keras model: layer by layer, step by step, and why it differs."""

import io
import sys
from collections.abc import Iterable
from contextlib import ExitStack, closing, redirect_stdout
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from parity_tests.models.compared import Compared
from parity_tests.models.explain import ModelSearch, grouped, unseen
from parity_tests.models.ladder import RUNGS, ModelLadder
from parity_tests.models.mapping import ModelMapping, by_hand, mappings
from parity_tests.models.reference import KerasProcess
from parity_tests.models.sides import OUTPUTS, Answers, KerasSide, PortSide
from parity_tests.ports.messages import PortError, ProcessEnded, UnusablePort
from parity_tests.ports.user_port import Process

NEAR = 1e-3
"""Relative difference up to which numbers count as the model's, whatever the rounding."""


@dataclass
class Report:
    """What was found about the port of a model.

    Attributes:
        by_rung: "pass", "FAIL ..." or "not judged: ...", in the order of the ladder.
        findings: What explains the rungs that failed, in sentences.
        notes: What was chosen, and what differs as the frameworks do.
        unseen: Mistakes that this check could not see.
        shown: What only the page shows: "compared", "mapping" and "hypotheses", for JSON.
    """

    by_rung: dict[str, str] = field(default_factory=dict)
    findings: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    unseen: list[str] = field(default_factory=list)
    shown: dict[str, list[Any]] = field(default_factory=lambda: {"compared": []})

    @property
    def failed(self) -> list[str]:
        """The rungs that failed."""
        return [rung for rung, verdict in self.by_rung.items() if verdict.startswith("FAIL")]

    @property
    def usable(self) -> bool:
        """Whether loss, gradients or updates were judged."""
        seen = (self.by_rung.get(rung, "not") for rung in ("loss", "gradients", "update"))
        return any(not verdict.startswith("not") for verdict in seen)

    def conclusion(self, port: str) -> str:
        """Return the sentence that sums up what was judged and what was not."""
        rest = [f"{rung} ({v[12:]})" for rung, v in self.by_rung.items() if v.startswith("not")]
        rest += [note.removeprefix("not judged: ") for note in self.notes if note[:3] == "not"]
        if self.failed:
            return f"{port} is not the same training as its model: see {', '.join(self.failed)}"
        if not self.usable:
            return f"{port} could not be judged: {'; '.join(rest)}"
        judged = [rung for rung, verdict in self.by_rung.items() if verdict.startswith("pass")]
        left = f"; not judged: {'; '.join(rest)}" if rest else ""
        return f"{port} agrees in what was judged: {', '.join(judged)}{left}"

    def as_json(self) -> dict[str, Any]:
        """Return what was found, for JSON."""
        return {
            "verdict": "differs" if self.failed else "agrees" if self.usable else "not judged",
            "rungs": self.by_rung,
            "findings": self.findings,
            "cannot tell": self.unseen,
            **self.shown,
        }

    def say(self, note: str) -> None:
        """Keep a note, and print it."""
        self.notes.append(note)
        print(note)

    def add(self, rung: str, verdict: str) -> None:
        """Keep a verdict, and print it."""
        self.by_rung[rung] = verdict
        print(f"{rung:15} {verdict}")


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
        report = examine(Path(port), Path(reference), dtype)
    conclusion = report.conclusion(str(port))
    if report.failed:
        raise AssertionError(f"{conclusion}\n{text.getvalue()}")
    if not report.usable:
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
) -> Report:
    """Judge a port beside its Keras model, print what is found, and return it."""
    for path, what in ((port, "PyTorch port"), (reference, "Keras model")):
        if not path.is_file():
            raise FileNotFoundError(f"there is no {path}: expected a file with a {what}")
    report = Report()
    with ExitStack() as stack:

        def start(floatx: str, backend: str) -> KerasProcess:
            process = KerasProcess(reference, floatx, backend, python)
            return stack.enter_context(closing(process))

        truth = start("float64", "tensorflow")
        truth.send("describe")
        process = stack.enter_context(
            closing(Process(port, device, model, step, limit=limit, beside_keras=True))
        )
        examination = _Examination(report, truth, process, dtype)
        examination.settle()
        kinds = [("float64", "torch"), ("float32", "tensorflow")]
        examination.measure(start(*kind) for kind in kinds[: 1 + (dtype == "float32")])
        examination.judge()
    return report


class _Examination:
    """A port beside its Keras model.

    Args:
        report: Takes what is found.
        truth: The process of the model in float64, which was asked to describe itself.
        process: Of the port.
        dtype: Of the port.
    """

    def __init__(self, report: Report, truth: KerasProcess, process: Process, dtype: str) -> None:
        self.report, self.process, self.dtype = report, process, dtype
        self.described, self.weights = truth.receive()
        self.truth = KerasSide(truth)
        self.edits: list[dict[str, Any]] = truth.ask("edits")[0]["edits"]

    def settle(self) -> None:
        """Find the batch, the form of the inputs and the mapping that give the model's numbers."""
        process, truth = self.process, self.truth.process
        name = process.held["models"][0]
        said, _ = process.ask("configure", model=name, dtype=self.dtype)
        brings, batch = truth.ask("batch")
        if said["brings"] and not brings["brings"]:
            batch = process.ask("brought")[1]
            truth.ask("use_batch", batch)
        self.batch = batch
        order = self.truth.trace(False)[0]
        units = _in_order(self.described["units"], [call["unit"] for call in order])
        layout = said["layout"] or self.described["layout"]
        picture = any(a.ndim > 3 for k, a in batch.items() if k.startswith("inputs"))
        forms = ["channels first", "as it is"] if picture else ["as it is"]
        forms = {"NCHW": ["channels first"], "NHWC": ["as it is"]}.get(layout, forms)
        given = said["mapping"] or self.described["mapping"]
        self.port = self._settled(units, said["units"], forms, given)
        self._say(name)

    def _settled(
        self, units: list[Any], modules: list[Any], forms: list[str], given: Any
    ) -> PortSide:
        """Return the first way to use the port that gives the model's numbers, or the nearest."""
        right = self.truth.trace(False)[1]["outputs 0"]
        ways: list[PortSide] = []
        problem: PortError | None = None
        for form in forms:
            empty = PortSide(self.process, ModelMapping((), ""), form, self.batch, self.weights)
            try:
                calls = empty.trace(False)[0]["calls"]
            except ProcessEnded:
                raise
            except PortError as error:
                problem = problem or error
                continue
            ordered = _in_order(modules, [call["unit"] for call in calls])
            for mapping in [by_hand(units, ordered, given)] if given else mappings(units, ordered):
                side = replace(empty, mapping=mapping, kept=Answers())
                found = side.trace(False)[1].get("outputs 0")
                for output in OUTPUTS if found is not None else ():
                    ways.append(replace(side, output=output))  # which keeps the same answers
                    if _near(ways[-1].returned(found), right):
                        return replace(ways[-1], kept=Answers())
        if not ways:
            raise problem or UnusablePort(f"{self.process.path}: its model returns nothing")
        return replace(max(ways, key=self._agreement), kept=Answers())

    def _agreement(self, side: PortSide) -> int:
        """Return how much of a port agrees, given what its layers should return."""
        ladder = ModelLadder(self.truth, (), side, self.dtype, frozenset())
        try:
            return sum(c.difference < NEAR for c in ladder.compared("between", []))
        except PortError:
            return -1

    def _say(self, name: str) -> None:
        parameters, how = self.described["parameters"], self.port.mapping.how
        self.report.say(
            f"judged: {name}, trained by {self.process.held['step']}, in {self.dtype}, with inputs "
            f"{self.port.form}, beside a Keras model of {parameters:,} parameters"
        )
        print(f"mapping, {how}:")
        for line in self.port.mapping.lines():
            print(line)
        self.report.shown["mapping"] = self.port.mapping.rows()
        if self.port.output != "as it is":
            self.report.say(f"the port returns {self.port.output}, the model probabilities")
        for pair in self.port.mapping.pairings:
            if pair.missing:
                self.report.say(f"the port has no {', '.join(map(pair.path, pair.missing))}")

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
                yard.ask("describe")
                yard.ask("use_batch", self.batch)
                yard.ask("load_weights", self.weights)
                for training in (False, True):
                    side.trace(training)
                side.train()
                self.ladder.yards = [*self.ladder.yards, side]
            except PortError as error:
                self.report.say(f"a yardstick is missing, so bounds are narrower: {error}")
            yard.close()

    def judge(self) -> None:
        """Judge each rung, and explain those that fail."""
        self.search = ModelSearch(self.ladder, self.edits)
        self._judge_noise()
        made: list[str] = []
        for rung in RUNGS:
            made += self._judge(rung, made)
        report = self.report
        if any(rung in RUNGS for rung in report.failed):
            report.findings += map(str, self.search.explain())
            report.shown["hypotheses"] = self.search.tried
        for finding in report.findings:
            print(f"-> {finding}")
        for part in sorted(self.ladder.unseen):
            report.say(f"not judged: {part}")
        if not report.failed:
            report.unseen = unseen(self.ladder, self.edits)
        for name in report.unseen:
            print(f"with this batch the check cannot tell: {name}")

    def _judge_noise(self) -> None:
        """Compare the rates of what is switched off on both sides in all that follows."""
        expected = [rate for _, rate in self.described["noise"]]
        said, _ = self.port.trace(True)
        found = said["dropout"]
        if expected or found:
            text = f"rates of dropout {found} in the port, {expected} in the model"
            if len(found) == len(expected) and np.allclose(found, expected):
                self.report.add("noise", "pass, by its rates; it is switched off in what follows")
            else:
                self.report.add("noise", f"FAIL {text}")
                self.report.findings.append(f"noise: {text}")

    def _judge(self, rung: str, made: list[str]) -> list[str]:
        """Judge a rung; return the mistake that is the framework's own, if that explains it."""
        try:
            every = list(self.ladder.compared(rung, made))
        except ProcessEnded:
            raise
        except PortError as error:
            self.report.add(rung, f"not judged: {error}")
            return []
        if not every:
            if rung != "statistics":
                self.report.add(rung, "not judged: nothing to compare")
            return []
        if rung in ("gradients", "update") and not any(c.truth.any() for c in every):
            self.report.add(rung, "not judged: all are 0 in the model, which proves nothing")
            return []
        self.report.shown["compared"] += [{"rung": rung, **c.as_json()} for c in every]
        self._say_ambiguous(every)
        wrong = [compared for compared in every if compared.fails]
        own = self.search.of_framework(rung, made) if wrong else []
        if own and not any(c.fails for c in self.ladder.compared(rung, [*made, *own])):
            self.report.add(rung, f"pass, but that {' and '.join(grouped(own))}")
            return own
        worst = max(every, key=lambda c: c.difference / c.bound if c.bound else np.inf)
        if wrong:
            first = wrong[0]
            others = f" ({len(wrong)} of {len(every)} tensors differ)" if len(wrong) > 1 else ""
            self.report.add(rung, f"FAIL {first.label}{others}\n  {first.message}")
        else:
            shown = f"worst {worst.difference:.0e} of {worst.bound:.0e}"
            self.report.add(rung, f"pass  ({len(every)} tensors, {shown})")
        return []

    def _say_ambiguous(self, every: list[Compared]) -> None:
        if self.dtype == "float64":
            for compared in every:
                if compared.own > 1e-4:
                    self.report.say(
                        f"Keras itself is ambiguous here: {compared.label} differs by "
                        f"{compared.own:.0e} between its backends tensorflow and torch"
                    )


def _in_order(described: list[Any], called: list[str]) -> list[Any]:
    """Return what is described in the order of the first calls; what is never called last."""
    first = {path: index for index, path in reversed(list(enumerate(called)))}
    return sorted(described, key=lambda item: first.get(item["path"], len(called)))


def _near(array: np.ndarray, right: np.ndarray) -> bool:
    if array.shape != right.shape:
        return False
    return bool(np.abs(array - right).max(initial=0) <= NEAR * np.abs(right).max(initial=0))
