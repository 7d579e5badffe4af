"""The examination of a port: a verdict for each rung, and what explains those that failed."""

import os
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

from parity_tests.ladder.adapters import Port, Reference
from parity_tests.ladder.compare import Divergence
from parity_tests.ladder.directed_inputs import directed_weights
from parity_tests.ladder.training import whole_training
from parity_tests.ports import source
from parity_tests.ports.diagnosis import Search
from parity_tests.ports.messages import NotObservable, PortError, ProcessEnded, UnusablePort
from parity_tests.ports.port_rungs import PORT_LADDER, PortJudge, port_rungs
from parity_tests.ports.recording import Recording
from parity_tests.ports.settle import settle
from parity_tests.ports.user_port import Process, Usage, UserPort
from parity_tests.ports.verdicts import BOOK, Finding, Verdicts, print_wrapped

NEEDS = {"data": "load_mnist", "initial weights": "NaiveDense"}
"""What a file must have to be judged on a rung."""


def examine(
    path: Path,
    recording: Path | None,
    dtype: str,
    epochs: int,
    data: Path,
    *,
    model: str | None = None,
    step: str | None = None,
    device: str = "cpu",
    limit: float = 120.0,
) -> Verdicts:
    """Judge a port of the book's network, print what is found, and return it."""
    source.require_step(path, source.parse(path), step)
    recorded = Recording(recording) if recording else None
    if recorded:
        dtype, epochs = recorded.dtype, recorded.epochs if epochs else 0
    sizes = recorded.sizes if recorded else (784, 512, 10)
    with closing(Process(path, device, model, step, sizes, limit)) as process:
        mnist = Port(dtype=dtype, folder=data).data()
        batch = mnist["training images"][:128], mnist["training labels"][:128]
        usage, notes = settle(process, dtype, data, *batch)
        for note in notes:
            print_wrapped(note)
        examination = Examination(process, usage, mnist, recorded)
        examination.verdicts.notes = notes
        verdicts = examination.judge(epochs)
        if verdicts.failed:
            examination.explain()
    verdicts.shown["compared"] = [
        {
            "rung": record.rung,
            "label": f"{record.quantity} {record.tensor}",
            "difference": record.error,
            # A tensor in which nothing differed is as far below any bound.
            "bound": record.error * record.headroom if record.error else 1.0,
        }
        for record in examination.compare.records.values()
    ]
    return verdicts


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
        self.batch = self.mnist["training images"][:300], self.mnist["training labels"][:300]
        self.loaded, self.of_port = self.mnist, self.mnist
        unseen = set() if usage.sees_loss else {"loss"}
        sizes: dict[str, float] = {}
        if not usage.sees_gradients:
            for weights in directed_weights(kind, self.sizes).values():
                sizes |= {k: max(sizes.get(k, 0.0), np.abs(w).max()) for k, w in weights.items()}
        inexact = not usage.sees_gradients and kind == "float32"
        not_shown = unseen | ({"gradient"} if inexact else set())
        self.compare = PortJudge(unseen=frozenset(not_shown), sizes=sizes)
        self.verdicts = Verdicts(BOOK, unseen=unseen)
        self.rungs = partial(port_rungs, layers=usage.layers)
        self.random: set[str] = set()
        self.ended = False

    def make_port(self) -> Any:
        """Return the port, without memory of earlier calls."""
        port: Any = UserPort(self.process, self.usage)
        port.data = lambda: self.of_port
        return port

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
        self._judge_two_steps()
        judged = self.rungs(self.compare, self.make_reference, self.make_port, *self.batch)
        prepared = {"data": self._load_data, "loop": self._judge_two_loops}
        for rung in PORT_LADDER:
            self.verdicts.add(rung, self._verdict(rung, prepared.get(rung), judged[rung]))
        whole = partial(self._whole_training, epochs)
        why = "the epochs are 0" if not epochs else "a rung before it failed"
        judging = epochs and not self.verdicts.failed
        verdict = self._verdict("ten epochs", whole) if judging else f"not judged: {why}"
        self.verdicts.add("ten epochs", verdict)
        return self.verdicts

    def _verdict(self, rung: str, *judges: Callable[[], None] | None) -> str:
        _show(f"{rung} ...")
        if self.ended:
            return "not judged: its process has ended"
        try:
            if why := self._why_not(rung):
                return f"not judged: {why}"
            for judge in filter(None, judges):
                judge()
        except Divergence as divergence:
            return f"FAIL {divergence}"
        except NotObservable as reason:
            return f"not judged: {reason}"
        except (PortError, ProcessEnded) as error:
            self.verdicts.errors.append(str(error))
            self.ended = isinstance(error, ProcessEnded)
            return f"not judged: {error}"
        finally:
            _show("")
        return "pass"

    def _why_not(self, rung: str) -> str:
        """Return why a rung cannot be judged; "" if it can."""
        if rung in NEEDS and NEEDS[rung] not in self.process.held["names"]:
            return f"the file has no {NEEDS[rung]}"
        if "two steps" in self.random and rung not in NEEDS:
            return "two runs differ"
        if rung == "layer outputs" and self.usage.model_form is None:
            return "the model cannot be called with images alone"
        if rung == "one update" and not self.usage.sees_gradients:
            return "its gradients are not seen, and are judged together with the update"
        if rung == "one update" and not self.usage.makes_optimizer:
            return "the file makes no optimizer"
        if rung == "initial weights" and self.process.held["trained"]:
            return "the file trains when it is run"
        if rung == "loop":
            port = UserPort(self.process, self.usage)
            why, given = port.why_no_loop(*(array[:8] for array in self.batch))
            self.verdicts.unseen |= {"batches"} if given else set()
            return why
        return ""

    def _judge_two_steps(self) -> None:
        """Judge whether two steps that start alike are alike, whatever random numbers they draw."""
        if not self._differ(self._step):
            return
        self.verdicts.add("two steps", "FAIL from the same weights, two steps on one batch differ")
        drops_out, self.usage = self.usage, replace(self.usage, dropout=False)
        if self._differ(self._step):
            self.usage = drops_out
            self.random.add("two steps")
            self.verdicts.findings.append("two steps: it draws random numbers")
        else:
            self.verdicts.findings.append(
                "two steps: explained by: dropout; with dropout switched off, as in all that "
                "follows, they are equal"
            )

    def _judge_two_loops(self) -> None:
        images, labels = (array[:250] for array in self.batch)
        of_step, of_loop = self.make_port(), self.make_port()
        for port in (of_step, of_loop):
            port.load_weights(directed_weights(port.dtype, self.sizes)["biases"])
        loss = of_step.step(images[:100], labels[:100])[0]
        found = of_loop.fit(images[:100], labels[:100], 1, 100)
        if len(found) == 1 and abs(found[0] - loss) > 1e-3 * abs(loss):
            raise NotObservable("its loop does something to the images before the step takes them")
        if self._differ(lambda port: {"": port.fit(images, labels, 2, 100)}):
            self.random.add("loop")
            self.verdicts.findings.append(
                "loop: it draws random numbers, as one that shuffles does; the reference trains "
                "in the order of the data set"
            )
            message = "from the same weights, two runs of its loop differ"
            raise Divergence("loop", "behaviour", message)

    def _step(self, port: UserPort) -> dict[str, np.ndarray]:
        return {"": port.step(*(array[:128] for array in self.batch))[0], **port.weights()}

    def _differ(self, run: Callable[[UserPort], dict[str, np.ndarray]]) -> bool:
        """Return whether two runs differ that start alike, but for the seed of random numbers."""
        runs = []
        for seed in (0, 1):
            port = UserPort(self.process, self.usage, seed)
            port.load_weights(directed_weights(port.dtype, self.sizes)["biases"])
            runs.append(run(port))
        first, second = runs
        return not all(np.array_equal(first[k], second[k], equal_nan=True) for k in first)

    def _load_data(self) -> None:
        """Load what `load_mnist` loads, to be judged in its own dtype."""
        of_port, takes_dtype = UserPort(self.process, self.usage).data()
        expected = {}
        for name, array in self.mnist.items():
            found = of_port[name]
            raw = found.dtype == np.uint8 and name.endswith("images")
            if raw and "from 0 to 1" in self.usage.step_form:
                raise NotObservable("it loads bytes, and what divides them is not seen")
            if name.endswith("labels"):  # of whichever integers, since a step may convert them
                expected[name] = array
                if np.issubdtype(found.dtype, np.integer):
                    of_port[name] = found.astype(array.dtype)
            elif any(word in self.usage.step_form for word in ("255", "bytes")):
                expected[name] = np.rint(array * 255).astype(found.dtype)
            elif takes_dtype or found.dtype == np.float64:
                expected[name] = array.astype(self.usage.dtype if takes_dtype else np.float64)
            else:
                expected[name] = _as_float32(array)
        self.loaded, self.of_port = expected, of_port

    def _whole_training(self, epochs: int) -> None:
        if self.verdicts.by_rung["loop"] != "pass":
            self.usage = replace(self.usage, own_loop=False)
        whole_training(self.compare, self.make_reference(), self.make_port(), self.mnist, epochs)

    def explain(self) -> None:
        """Print what explains the rungs that failed."""
        verdicts = self.verdicts
        # No seed tells what a file draws, and a whole training takes too long to be tried again.
        unasked = {"initial weights", *self.random}
        able = [r for r in PORT_LADDER if r not in unasked and verdicts.by_rung[r][:3] != "not"]
        if self.usage.strange:
            verdicts.findings.append(
                "gradients and update: explained by: the optimizer holds none of the model's "
                "weights: they never change, and their gradients add up"
            )
            able = [rung for rung in able if rung in PORT_LADDER[:3]]
        if not self.ended and not set(verdicts.failed).isdisjoint(able):
            _show("searching for the mistake ...")
            found = [str(finding) for finding in self._search(able)]
            least = "unexplained: it differs by less than any known mistake would make it"
            verdicts.findings += found or [least]
            _show("")
        elif "ten epochs" in verdicts.failed:
            verdicts.findings.append(
                "ten epochs: all rungs before it passed; no known mistake is like that"
            )
        for finding in verdicts.findings:
            print_wrapped(f"-> {finding}", indent=3)

    def _search(self, able: list[str]) -> list[Finding]:
        return Search(
            self.make_port,
            self.mnist,
            self.usage.dtype,
            self.loaded,
            self.sizes,
            self.rungs,
            self.compare.unseen,
            self.usage.output == "logits",
        ).explain(able)


def _show(text: str) -> None:
    """Show what is going on, on a terminal."""
    if sys.stderr.isatty():
        print(f"\r{text:40}\r{text}", end="", file=sys.stderr, flush=True)


@contextmanager
def _standard_error_kept() -> Iterator[None]:
    """Keep what is written to standard error, such as a log, and show it on an error."""
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
