"""The check of a port of the book's network: a verdict for each rung, and what explains it."""

import sys
from collections.abc import Callable
from contextlib import closing
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

from parity_tests.check.book.asking import Asked, UnchangedError, find_training
from parity_tests.check.book.beginning import Beginning
from parity_tests.check.book.loops import Loops, known
from parity_tests.check.book.rungs import RUNGS, Seen
from parity_tests.check.book.seen import RATE, as_mean, is_divided
from parity_tests.check.messages import NotObservable, PortError, ProcessEnded, UnusablePort
from parity_tests.check.process import Process
from parity_tests.check.repairs.text import keep
from parity_tests.check.results import (
    BOOK,
    FAIL,
    NOT_JUDGED,
    PASS,
    Mistake,
    Observation,
    Verdicts,
    print_wrapped,
)
from parity_tests.check.samples import Samples
from parity_tests.ladder.compare import Divergence, Judge
from parity_tests.ladder.directed_inputs import directed_weights
from parity_tests.ladder.oracle import Oracle, initial_weights

LONG = 5
"""Steps of the longer run."""


def examine(
    path: Path,
    dtype: str,
    epochs: int,
    data: Path,
    *,
    model: str | None = None,
    step: str | None = None,
    limit: float = 120.0,
) -> Verdicts:
    """Judge a port of the book's network, print what is found, and return it."""
    verdicts = Verdicts(BOOK)
    reason = ""
    for double in (True, False) if dtype == "float64" else (False,):
        options: dict[str, Any] = {"double": double, "model": model, "step": step, "limit": limit}
        with closing(Process(path, data, **options)) as process:
            samples = Samples(process.mnist)
            try:
                asked = find_training(process, samples)
            except UnchangedError as error:
                return unchanged(verdicts, "one update", path, error.args[0])
            except (PortError, ProcessEnded) as error:
                if double and _is_about_dtypes(str(error)):
                    reason = str(error).split(": ", 1)[-1]
                    continue
                raise UnusablePort(str(error)) from error
            if double and asked.dtype == "float32":
                reason = "its weights stay in float32"
                continue
            if reason:
                verdicts.say(f"judged in float32, since in float64 {reason}")
            examination = Examination(asked, samples, verdicts)
            examination.judge(epochs)
            examination.explain()
            return verdicts
    raise UnusablePort(f"{path}: {reason}")


def _is_about_dtypes(message: str) -> bool:
    return any(word in message for word in ("dtype", "Double", "Float", "scalar type", "float"))


def unchanged(verdicts: Verdicts, rung: str, path: Path, said: dict[str, Any]) -> Verdicts:
    """Return the verdicts of a program that takes gradients and changes no weight."""
    line = said["open"]["line"]
    verdicts.say(f"judged: {path.name}, which takes gradients in line {line}")
    verdicts.add(rung, FAIL, "gradients are taken, and no weight ever changes")
    mistake = known("weights never updated")
    if said["strange"]:
        sentence = "the optimizer holds none of the model's weights"
        mistake = Mistake("the optimizer of another model", sentence)
    verdicts.find(Observation(rung, mistake))
    return verdicts


class Examination:
    """A program beside the reference.

    Args:
        asked: The program.
        samples: MNIST, to be recognized.
        verdicts: Takes what is found.
    """

    def __init__(self, asked: Asked, samples: Samples, verdicts: Verdicts) -> None:
        self.asked, self.samples, self.verdicts = asked, samples, verdicts
        mnist = asked.process.mnist
        self.dtype, self.sizes = asked.dtype, asked.matching.sizes
        kind = self.dtype
        self.images = (mnist["training images"][:600] / 255).astype(kind)
        self.labels = mnist["training labels"][:600]
        self.seen = Seen(yardstick=None if kind == "float64" else _yardstick(self.sizes))
        self.judge_of = Judge()
        self.beginning = Beginning(asked, samples, verdicts, self.seen, self.judge_of)
        self.still: dict[str, Any] = {}
        self.given: dict[str, tuple[Any, Any, Any, int]] = {}
        self.random = False

    def judge(self, epochs: int) -> None:
        """Print and keep a verdict for each rung."""
        self._say()
        self._judge_draws()
        self._look()
        for rung, judge in self._rungs(epochs).items():
            self._judge(rung, judge)
        self.verdicts.shown["compared"] = [
            {
                "rung": record.rung,
                "label": f"{record.quantity} {record.tensor}",
                "difference": record.error,
                # A tensor in which nothing differed is as far below any bound.
                "bound": record.error * record.headroom if record.error else 1.0,
            }
            for record in self.judge_of.records.values()
        ]

    @property
    def loops(self) -> Loops:
        """The loops of the program."""
        return Loops(self.asked, self.samples, self.verdicts, self.seen, self.judge_of, self.still)

    def _rungs(self, epochs: int) -> dict[str, Callable[[], str | None]]:
        """Return what judges each rung; each returns what is to be added to a pass."""
        by_numbers = ("layer outputs", "gradients", "one update", "trajectory")
        return {
            "data": self.beginning.judge_data,
            "initial weights": self.beginning.judge_weights,
            **{rung: partial(self._by_numbers, rung) for rung in by_numbers},
            "loop": self.loops.judge,
            "ten epochs": partial(self.loops.judge_whole_training, epochs),
        }

    def _judge(self, rung: str, judge: Callable[[], str | None]) -> None:
        """Judge a rung, and keep the verdict."""
        verdicts = self.verdicts
        if self.random:
            verdicts.add(rung, NOT_JUDGED, "it draws random numbers")
            return
        try:
            added = judge()
        except Divergence as divergence:
            verdicts.add(rung, FAIL, str(divergence))
        except NotObservable as reason:
            verdicts.add(rung, NOT_JUDGED, str(reason))
        except (PortError, ProcessEnded) as error:
            verdicts.errors.append(str(error))
            verdicts.add(rung, NOT_JUDGED, str(error))
        else:
            verdicts.add(rung, PASS, added or "")

    def _say(self) -> None:
        """Say what is judged."""
        asked, first = self.asked, self.asked.first[0]
        network = "-".join(map(str, self.sizes))
        if asked.drive is None:
            called = asked.process.waits.get("called")
            how = f"trained by {called}" if called else "as it trains when it is run"
            verdict = (
                f"judged: {asked.process.path.name} ({network}), {how}, in {self.dtype}, with "
                f"batches of {len(first.labels)}; gradients are taken in line {first.line}"
            )
            self.verdicts.say(verdict)
        else:
            of_images, of_labels, bare = asked.drive["form"]
            form = ", ".join([of_images, *([of_labels] if of_labels != "labels" else [])])
            self.verdicts.say(
                f"judged: {asked.drive['model']} ({network}), trained by {asked.drive['name']}, in "
                f"{self.dtype}, with images {form}{', NumPy arrays' if bare else ''}"
            )
            for note in asked.process.waits["notes"]:
                self.verdicts.say(note)
            if asked.process.waits["made"]:
                self.verdicts.say(
                    f"the file makes no optimizer: SGD with a learning rate of {RATE} is made here"
                )
        if not first.layers:
            self.verdicts.say("what its layers compute is not seen: it is judged by the rest")
        elif first.probabilities is None:
            self.verdicts.say(
                "its model returns logits: its softmax is missing, or belongs to the loss"
            )

    def _judge_draws(self) -> None:
        """Judge whether the program draws random numbers while it computes."""
        draws = dict(draw for step in self.asked.first for draw in step.draws)
        if not draws:
            return
        names = " and ".join(f"{name} (line {line})" for name, line in draws.items())
        self.verdicts.add("random numbers", FAIL, f"{names} in training")
        dropouts = {name: line for name, line in draws.items() if name.startswith("dropout")}
        self.random = len(dropouts) < len(draws)
        self.still = {"still": True}
        if self.random:
            self.verdicts.findings.append(Observation("random numbers", "it draws random numbers"))
            return
        for name, line in dropouts.items():
            mistake = Mistake("dropout", f"{name} in training, expected none", line)
            then = "with dropout switched off, all that follows is judged"
            self.verdicts.findings.append(Observation("random numbers", mistake, then))

    def _look(self) -> None:
        """See what the program does from directed weights."""
        if self.random:
            return
        batch = self.images[:128], self.labels[:128]
        for case, weights in directed_weights(self.dtype, self.sizes).items():
            self._keep(case, weights, *batch, 1)
            if self.asked.drive is not None and case in ("seed 0", "biases"):
                for size in (96, 1):
                    part = batch[0][:size], batch[1][:size]
                    self._keep(f"{case}, {size}", weights, *part, 1)
                for label in (0, 9):
                    one = np.full_like(batch[1], label)
                    self._keep(f"{case}, labels {label}", weights, batch[0], one, 1)
        first = initial_weights(0, self.sizes, self.dtype)
        self._keep("five steps", first, self.images, self.labels, LONG)
        self._undivide()

    def _keep(self, case: str, weights: Any, images: Any, labels: Any, steps: int) -> None:
        """See some steps from some weights."""
        self.given[case] = weights, images, labels, steps
        self.seen.runs[case] = self.asked.run(weights, images, labels, steps, **self.still)

    def _undivide(self) -> None:
        """Take the means, if each step sums over its batch, and its update divides."""
        oracle = Oracle(self.dtype)
        summed = False
        for step in (step for run in self.seen.runs.values() for step in run):
            oracle.load_weights(step.before)
            told = is_divided(step, *oracle.gradients(step.images, step.labels))
            if told is False:
                return
            summed = summed or bool(told)
        if summed:
            runs = self.seen.runs.items()
            self.seen.runs = {case: [as_mean(step) for step in run] for case, run in runs}
            self.verdicts.say(
                "the loss of a batch is summed, and its update divides by the size of the batch"
            )

    def _by_numbers(self, rung: str) -> None:
        if rung == "layer outputs" and not self.asked.first[0].layers:
            raise NotObservable("what its layers compute is not seen")
        if self.asked.first[0].by_hand and rung == "one update":
            raise NotObservable("its gradients are not seen, and are judged with the update")
        if self.asked.first[0].by_hand and rung == "gradients" and self.dtype == "float32":
            raise NotObservable("its gradients are not seen, and float32 rounds updates too much")
        if any(step.labels.min() < 0 for run in self.seen.runs.values() for step in run):
            raise NotObservable("the labels that its outputs meet are not seen")
        RUNGS[rung](self.judge_of, self.seen, Oracle)

    def explain(self) -> None:
        """Print what explains the rungs that failed, in their order."""
        verdicts = self.verdicts
        explained = {finding.rung for finding in verdicts.findings}
        able = [r for r in RUNGS if self.seen.has(r) and r not in explained]
        able = [r for r in able if verdicts.status(r) != NOT_JUDGED]
        if not set(verdicts.failed).isdisjoint(able):
            _show("searching for the mistake ...")
            search = import_module("parity_tests.check.book.explain").SeenSearch(
                self.seen,
                self.dtype,
                self.sizes,
                self.beginning.loaded,
                self.asked.first[0].probabilities is None,
            )
            least = "unexplained: it differs by less than any known mistake would make it"
            found = search.explain(able)
            verdicts.findings += found or [Observation(verdicts.failed[0], least)]
            _show("")
        elif verdicts.failed == ["ten epochs"]:
            text = "all rungs before it passed; no known mistake is like that"
            verdicts.findings.append(Observation("ten epochs", text))
        order = list(verdicts.by_rung)
        verdicts.findings.sort(key=lambda finding: order.index(finding.rung))
        self._mend()
        for finding in (*verdicts.findings, *verdicts.repairs):
            print_wrapped(f"-> {finding}", indent=3)
        if verdicts.diff:
            print(verdicts.diff, end="")

    def _mend(self) -> None:
        """Search for a change of the port after which all rungs agree."""
        if self.verdicts.failed and "five steps" in self.given:
            module = import_module("parity_tests.check.repairs.book")
            repairs = module.BookRepairs(self.asked, self.seen, self.given, self.still)
            repairs.search(self.verdicts.failed)
            keep(self.verdicts, self.asked.process.path, repairs.found)


def _yardstick(sizes: tuple[int, ...]) -> Any:
    """Return what computes in float32 as PyTorch does: the port of this project."""
    return import_module("parity_tests.ladder.adapters").Port(sizes, "float32")


def _show(text: str) -> None:
    """Show what is going on, on a terminal."""
    if sys.stderr.isatty():
        print(f"\r{text:40}\r{text}", end="", file=sys.stderr, flush=True)
