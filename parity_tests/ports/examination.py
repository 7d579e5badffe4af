"""The examination of a port: a verdict for each rung, what explains them, what was judged."""

import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from importlib import import_module
from typing import Any

import numpy as np

from parity_tests.ladder.adapters import Reference
from parity_tests.ladder.compare import Divergence, Judge
from parity_tests.ladder.directed_inputs import directed_weights
from parity_tests.ladder.training import whole_training
from parity_tests.ports.diagnosis import Finding, Search
from parity_tests.ports.messages import NotObservable, PortError, UnusablePort
from parity_tests.ports.port_rungs import PORT_LADDER, port_rungs
from parity_tests.ports.recording import Recording
from parity_tests.ports.user_port import Process, Usage, UserPort

ASPECTS = {
    "data": "data",
    "initial weights": "initial weights",
    "outputs": "layer outputs",
    "loss": "gradients",
    "gradients": "gradients",
    "update": "one update",
    "loop": "loop",
    "prediction": "layer outputs",
}
"""What makes a training, and the rung on which each is judged."""
NEEDS = {"data": "load_mnist", "initial weights": "NaiveDense"}
"""What a file must have to be judged on a rung."""


@dataclass
class Verdicts:
    """What was found about a port.

    Attributes:
        by_rung: "pass", "FAIL ..." or "not judged: ...", in the order of the ladder.
        findings: What explains the rungs that failed, in sentences.
        unseen: Aspects that cannot be seen on a rung that was judged.
    """

    by_rung: dict[str, str] = field(default_factory=dict)
    findings: list[str] = field(default_factory=list)
    unseen: set[str] = field(default_factory=set)

    def add(self, rung: str, verdict: str) -> None:
        """Keep a verdict, and print it."""
        self.by_rung[rung] = verdict
        print(f"{rung:15} {verdict}")

    @property
    def failed(self) -> list[str]:
        """The rungs that failed."""
        return [rung for rung, verdict in self.by_rung.items() if verdict.startswith("FAIL")]

    @property
    def judged(self) -> set[str]:
        """The aspects of the training that were judged."""
        return {
            aspect
            for aspect, rung in ASPECTS.items()
            if not self.by_rung[rung].startswith("not") and aspect not in self.unseen
        }

    def conclusion(self, port: str) -> str:
        """Return the sentence that sums up what was judged and what was not."""
        judged = [aspect for aspect in ASPECTS if aspect in self.judged]
        rest = [f"{a} ({self._why(a)})" for a in ASPECTS if a not in self.judged]
        if self.failed:
            return f"{port} is not the same training as the reference: see {', '.join(self.failed)}"
        if not rest:
            return f"{port} is the same training as the reference"
        if self.judged.isdisjoint({"loss", "gradients", "update"}):
            return f"{port} could not be judged: {'; '.join(rest)}"
        return f"{port} agrees in what was judged: {', '.join(judged)}; not judged: {', '.join(rest)}"

    def _why(self, aspect: str) -> str:
        verdict = self.by_rung[ASPECTS[aspect]]
        return verdict.removeprefix("not judged: ") if verdict.startswith("not") else "not seen"

    def as_json(self) -> dict[str, Any]:
        """Return what was found, for JSON."""
        return {
            "verdict": "differs" if self.failed else "agrees",
            "rungs": self.by_rung,
            "findings": self.findings,
            "judged": sorted(self.judged),
            "not judged": sorted(set(ASPECTS) - self.judged),
        }


class Examination:
    """A port beside the reference.

    Args:
        process: Of the file.
        usage: How it is used.
        mnist: The right images and labels, by name.
        recorded: A recording that answers in place of the reference.
    """

    def __init__(
        self, process: Process, usage: Usage, mnist: dict, recorded: Recording | None
    ) -> None:
        self.process, self.usage, self.recorded = process, usage, recorded
        self.sizes = usage.matching.sizes
        if recorded and (recorded.sizes, recorded.dtype) != (self.sizes, usage.dtype):
            hidden = " ".join(map(str, self.sizes[1:-1]))
            raise UnusablePort(
                f"the recording is of another network or dtype: make one by record --hidden "
                f"{hidden} --dtype {usage.dtype}"
            )
        if not recorded:
            with _standard_error_kept():
                import_module("tf_reference").use_device("cpu")
            self.live = Reference(self.sizes, usage.dtype, folder=usage.folder)
        kind = usage.dtype
        self.mnist = {k: a.astype(kind) if k.endswith("images") else a for k, a in mnist.items()}
        self.loaded = self.mnist
        unseen = set() if usage.sees_loss else {"loss"}
        self.judge_ = Judge(frozenset(unseen))
        self.verdicts = Verdicts(unseen=unseen)
        self.rungs = partial(port_rungs, layers=usage.layers)
        self.draws_order = False

    def make_port(self) -> UserPort:
        """Return the port, without memory of earlier calls."""
        return UserPort(self.process, self.usage)

    def make_reference(self) -> Any:
        """Return the reference; its weights may be changed."""
        reference: Any = self.recorded.reference() if self.recorded else self.live
        reference.data = lambda: self.loaded
        return reference

    def judge(self, epochs: int) -> Verdicts:
        """Print and return a verdict for each rung.

        Args:
            epochs: Of the whole training; 0 leaves it out.
        """
        self._judge_two_runs()
        images, labels = self.mnist["training images"], self.mnist["training labels"]
        judged = self.rungs(self.judge_, self.make_reference, self.make_port, images, labels)
        for rung in PORT_LADDER:
            if why := self._why_not(rung):
                self.verdicts.add(rung, f"not judged: {why}")
            else:
                self.verdicts.add(rung, self._verdict(self._data if rung == "data" else judged[rung]))
        if not epochs:
            why = "the epochs are 0"
        elif self.verdicts.failed:
            why = "a rung before it failed"
        else:
            why = ""
        whole = partial(self._whole_training, epochs)
        self.verdicts.add("ten epochs", f"not judged: {why}" if why else self._verdict(whole))
        return self.verdicts

    def _verdict(self, judge: Callable[[], None]) -> str:
        try:
            judge()
        except Divergence as divergence:
            return f"FAIL {divergence}"
        except PortError as error:
            return f"not judged: {error}"
        return "pass"

    def _why_not(self, rung: str) -> str:
        """Return why a rung cannot be judged; "" if it can."""
        if rung in NEEDS and NEEDS[rung] not in self.process.held["names"]:
            return f"the file has no {NEEDS[rung]}"
        if self._is_random and rung not in ("data", "initial weights"):
            return "two runs differ"
        if rung == "layer outputs" and self.usage.model_form is None:
            return "the model cannot be called with images alone"
        if rung == "one update" and not self.usage.sees_gradients:
            return "its gradients are not seen, and are judged together with the update"
        if rung == "loop":
            why: str = self.process.ask("why_no_loop", session=self.process.sessions)[0]["why"]
            return why
        return ""

    @property
    def _is_random(self) -> bool:
        return "dropout" not in "".join(self.verdicts.findings) and "two runs" in self.verdicts.failed

    def _judge_two_runs(self) -> None:
        """Judge whether two runs that start alike are alike, whatever random numbers they draw."""
        if not self._differ(self.usage):
            return
        self.verdicts.add("two runs", "FAIL two runs of a step from the same weights differ")
        without = replace(self.usage, dropout=False)
        if self._differ(without):
            self.verdicts.findings.append("two runs: the step draws random numbers")
            return
        self.usage = without
        self.verdicts.findings.append(
            "two runs: explained by: dropout; with dropout switched off, as in what follows, two "
            "runs are equal"
        )

    def _differ(self, usage: Usage) -> bool:
        images, labels = (self.mnist[f"training {what}"][:128] for what in ("images", "labels"))
        runs = []
        for seed in (0, 1):
            port = UserPort(self.process, usage, seed)
            port.load_weights(directed_weights(usage.dtype, self.sizes)["biases"])
            loss, _ = port.step(images, labels)
            runs.append({"loss": loss, **port.weights()})
        first, second = runs
        return not all(np.array_equal(first[k], second[k], equal_nan=True) for k in first)

    def _data(self) -> None:
        """Judge what `load_mnist` loads, each array in its own dtype."""
        port = self.make_port()
        of_port, takes_dtype = port.data()
        expected = {}
        for name, array in self.mnist.items():
            found = of_port[name]
            if name.endswith("labels"):  # of whichever integers, since a step may convert them
                expected[name] = array
                if np.issubdtype(found.dtype, np.integer):
                    of_port[name] = found.astype(array.dtype)
            elif found.dtype == np.uint8 and "255" in self.usage.step_form:
                expected[name] = np.rint(array * 255).astype(np.uint8)
            elif takes_dtype or found.dtype == np.float64:
                expected[name] = array.astype(self.usage.dtype if takes_dtype else np.float64)
            else:
                expected[name] = _as_float32(array)
        self.loaded, self.of_port = expected, of_port
        port.data = lambda: of_port  # type: ignore[method-assign, assignment, return-value]
        judged = self.rungs(self.judge_, self.make_reference, lambda: port, *[np.zeros(300)] * 2)
        judged["data"]()

    def _whole_training(self, epochs: int) -> None:
        if self.verdicts.by_rung["loop"] != "pass":
            self.usage = replace(self.usage, own_loop=False)
        whole_training(self.judge_, self.make_reference(), self.make_port(), self.mnist, epochs)

    def explain(self, verdicts: Verdicts) -> None:
        """Print what explains the rungs that failed."""
        # No seed tells what a file draws, and a whole training takes too long to be tried again.
        unasked = ("two runs", "initial weights", "ten epochs")
        able = [r for r in PORT_LADDER if r not in unasked and verdicts.by_rung[r][:3] != "not"]
        if not set(verdicts.failed).isdisjoint(able):
            verdicts.findings += map(str, self._search(able))
            if not verdicts.findings:
                verdicts.findings.append(
                    "unexplained: it differs by less than any known mistake would make it"
                )
        elif "ten epochs" in verdicts.failed:
            verdicts.findings.append(
                "ten epochs: all rungs before it passed; no known mistake is like that"
            )
        for finding in verdicts.findings:
            print(f"-> {finding}")

    def _search(self, able: list[str]) -> list[Finding]:
        def make_port() -> Any:
            port: Any = self.make_port()
            port.data = lambda: self.of_port
            return port

        return Search(
            make_port,
            self.mnist,
            self.usage.dtype,
            self.loaded,
            self.sizes,
            self.rungs,
            self.judge_.unseen,
            self.usage.output == "logits",
        ).explain(able)


@contextmanager
def _standard_error_kept() -> Iterator[None]:
    """Keep what is written to standard error, such as a library's log, and show it on an error."""
    before = os.dup(2)
    with tempfile.TemporaryFile() as kept:
        os.dup2(kept.fileno(), 2)
        try:
            yield
        except BaseException:
            kept.seek(0)
            os.write(before, kept.read())
            raise
        finally:
            os.dup2(before, 2)
            os.close(before)


def _as_float32(images: np.ndarray) -> np.ndarray:
    """Return bytes over 255, rounded once."""
    return np.rint(images.astype(np.float64) * 255).astype(np.float32) / np.float32(255)
