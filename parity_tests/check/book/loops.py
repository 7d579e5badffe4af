"""Whole loops of a program: which samples they take in which order, and where they end."""

from collections.abc import Iterator
from dataclasses import dataclass
from importlib import import_module
from typing import Any

import numpy as np

from parity_tests.check.book.asking import Asked
from parity_tests.check.book.rungs import RUNGS, Seen
from parity_tests.check.book.seen import RATE
from parity_tests.check.messages import NotObservable, PortError
from parity_tests.check.results import PASS, Mistake, Observation, Verdicts
from parity_tests.check.samples import Samples
from parity_tests.ladder.compare import Divergence, Judge
from parity_tests.ladder.oracle import Oracle, initial_weights
from parity_tests.ladder.training import clear_labels

EPOCH = 469
"""Batches of 128 in an epoch of MNIST."""

NEAR = 1e-4
"""Relative difference up to which two learning rates are the same."""

FEW = 100
"""More images than share their fingerprint with an earlier one."""


@dataclass
class Loops:
    """The loops of a program.

    Attributes:
        asked: The program.
        samples: MNIST, to be recognized.
        verdicts: Takes what is found.
        seen: Takes what the loop does.
        judge_of: Compares.
        still: Options for a program that draws random numbers.
    """

    asked: Asked
    samples: Samples
    verdicts: Verdicts
    seen: Seen
    judge_of: Judge
    still: dict[str, Any]

    def judge(self) -> str | None:
        """Judge its own loop; return what is to be added to a pass."""
        if self.asked.drive is None:
            return self._order_of_samples(None)
        waits = self.asked.process.waits
        calls = {call["name"]: call for call in waits["calls"]}
        loops = [call for call in calls.values() if call["loop"]]
        if not loops and "BatchGenerator" in waits["names"]:
            loops = [{"name": "BatchGenerator", "takes": ["images", "labels", "batch_size"]}]
        if not loops:
            raise NotObservable("the file has no loop such as fit")
        loop = loops[0]
        drive = {"name": loop["name"], "epochs": 2}
        if not set(loop["takes"]) - {"epochs", "batch_size"}:
            return self._order_of_samples(drive)
        return self._judge_loop(loop, drive)

    def _images(self, number: int) -> np.ndarray:
        return (self.samples.images[:number] / 255).astype(self.asked.dtype)

    def _judge_loop(self, loop: dict[str, Any], drive: dict[str, Any]) -> str | None:
        """Judge a loop that is given its data."""
        name, takes = loop["name"], set(loop["takes"])
        size = 100 if takes & {"loader", "data", "batch_size"} else 128
        few = self._images(250), self.samples.labels[:250]
        first = initial_weights(0, self.asked.matching.sizes, self.asked.dtype)
        one = self.asked.run(first, *few, 99, size, drive={**drive, "epochs": 1}, **self.still)
        if [len(step.labels) for step in one] == [250]:
            raise NotObservable("the file has no loop such as fit")
        numbers = [self.samples.recognized(step.images).numbers for step in one]
        if sum(map(len, numbers)) > 250:
            raise NotObservable(f"{name} sets its own number of epochs")
        if one and one[0].layers:
            self._require_order(numbers, [*range(250)], size)
        run = self.asked.run(first, *few, 99, size, drive=drive, **self.still)
        if not run:
            raise NotObservable(f"{name} takes no step")
        self.seen.loop, self.seen.samples, self.seen.batch_size = run, few, size
        RUNGS["loop"](self.judge_of, self.seen, Oracle)
        if "images" not in takes and name != "BatchGenerator":
            self.verdicts.unseen.add("batches")
        return f"({len(run)} batches)"

    def _require_order(self, numbers: list[list[int]], right: list[int], size: int) -> None:
        """Refuse batches of another size, and samples in another order.

        Raises:
            Divergence: If there are some; what was seen is kept as findings.
        """
        found = list(_of_order(numbers, right, size))
        if found:
            self.verdicts.findings += [Observation("loop", mistake) for mistake in found]
            text = "; ".join(mistake.sentence for mistake in found)
            raise Divergence("loop", "behaviour", text)

    def _order_of_samples(self, drive: dict[str, Any] | None) -> str | None:
        """Judge the rates of a program, and the order in which it takes its samples."""
        options: dict[str, Any] = {"brief": True, "times": 10.0}
        if drive is not None:
            options["drive"] = {**self.asked.drive, **drive}  # type: ignore[dict-item]
        one = self._images(1), self.samples.labels[:1]
        said, _ = self.asked.ask(None, *one, EPOCH + 2, **options)
        if self.verdicts.status("one update") == PASS:
            self._require_rate([step["rate"] for step in said["steps"]])
        keys = [[bytes.fromhex(key) for key in step["samples"]] for step in said["steps"]]
        numbers = [[self.samples.number(key) for key in batch] for batch in keys]
        if not numbers or min(map(min, numbers), default=-1) < 0:
            what = drive["name"] if drive else "it"
            raise NotObservable(f"{what} brings its own data, which are not MNIST's")
        given = self.asked.process.waits.get("given")
        self._require_order(numbers, self.samples.numbers()[:given], 128)
        return f"({len(numbers)} batches of MNIST in its order)"

    def _require_rate(self, rates: list[float | None]) -> None:
        """Refuse a learning rate that changes later than in the steps that were judged."""
        divided = max(step.divided for run in self.seen.runs.values() for step in run)
        for number, rate in enumerate(rates):
            if rate is not None and divided == 1 and abs(rate - RATE) > NEAR * RATE:
                sentence = f"the learning rate is {rate:.6g} from step {number + 1} on"
                mistake = Mistake("schedule", f"{sentence}, expected {RATE:g}")
                self.verdicts.findings.append(Observation("loop", mistake))
                raise Divergence("loop", "behaviour", f"{sentence}, expected {RATE:g}")

    def judge_whole_training(self, epochs: int) -> str | None:
        """Judge some epochs of MNIST, and what is predicted then."""
        if not epochs or self.verdicts.failed:
            why = "the epochs are 0" if not epochs else "a rung before it failed"
            raise NotObservable(why)
        if self.asked.drive is None and self.verdicts.status("loop") != PASS:
            raise NotObservable("it does not train on MNIST")
        weights = initial_weights(0, self.asked.matching.sizes, self.asked.dtype)
        images, labels = self._images(60_000), self.samples.labels
        drive = None
        if self.asked.drive is not None:
            name = self.asked.drive["name"]
            calls = self.asked.process.waits["calls"]
            if self.verdicts.status("loop") == PASS:
                name = next((c["name"] for c in calls if c["loop"]), "BatchGenerator")
            drive = {**self.asked.drive, "name": name, "epochs": epochs, "batch_size": 128}
        rounds = 1 if drive is None or self.verdicts.status("loop") == PASS else epochs
        if rounds > 1:
            images, labels = np.tile(images, (rounds, 1)), np.tile(labels, rounds)
        said, arrays = self.asked.ask(
            weights,
            images,
            labels,
            epochs * EPOCH,
            drive=drive,
            brief=True,
            last=True,
            times=float(epochs),
            **self.still,
        )
        if said["error"]:
            raise PortError(f"{self.asked.process.path} raised an error: {said['ended']}")
        self._compare_whole(said, arrays, weights)
        return f"({len(said['steps']) // EPOCH} epochs)"

    def _compare_whole(self, said: dict[str, Any], arrays: dict, weights: dict) -> None:
        """Compare a whole training with that of the oracle."""
        images, labels = self.samples.images / 255, self.samples.labels
        epochs = -(-len(said["steps"]) // EPOCH)
        oracle = Oracle(self.asked.dtype)
        oracle.load_weights(weights)
        truth = oracle.fit(images, labels, epochs, 128)
        losses = np.array([step["loss"] for step in said["steps"]], self.asked.dtype)
        names = self.asked.weights.names
        last = self.asked.matching.from_port({n: arrays[f"last {i}"] for i, n in enumerate(names)})
        own: tuple[Any, dict] = (None, {})
        if self.seen.yardstick is not None:
            self.seen.yardstick.load_weights(weights)
            of_loss = self.seen.yardstick.fit(images.astype(self.asked.dtype), labels, epochs, 128)
            own = of_loss, self.seen.yardstick.weights()
        judge = self.judge_of
        options: dict[str, Any] = {"step": f"the end of {epochs} epochs"}
        found = {"port": losses, "oracle": truth, "reference": own[0]}
        judge("ten epochs", "loss", "of each batch", scale=1.0, **options, **_compared(found))
        for name, w in oracle.weights().items():
            found = {"port": last[name], "oracle": w, "reference": own[1].get(name)}
            scale = RATE * oracle.scales[name]
            judge("ten epochs", "weights", name, scale=scale, **options, **_compared(found))
        self._compare_labels(oracle, last)

    def _compare_labels(self, oracle: Oracle, last: dict[str, np.ndarray]) -> None:
        """Compare the predicted labels of the test images that rounding cannot change."""
        images = self.asked.process.mnist["test images"] / 255
        trained = Oracle(self.asked.dtype)
        trained.load_weights(last)
        p, q = oracle.probabilities_of(images), trained.probabilities_of(images)
        clear = clear_labels(p, float(np.abs(p - q).max()))
        if clear.mean() < 0.99:
            message = f"{np.count_nonzero(~clear)} of {len(clear)} images have no clear label"
            raise Divergence("ten epochs", "labels", message)
        found: dict[str, Any] = {"port": q.argmax(1)[clear], "reference": p.argmax(1)[clear]}
        self.judge_of("ten epochs", "labels", "predicted", **found)


def _compared(arrays: dict[str, Any]) -> dict[str, Any]:
    """Return the arrays of a comparison: without a yardstick, the oracle is the reference."""
    if arrays["reference"] is not None:
        return arrays
    return {"port": arrays["port"], "reference": arrays["oracle"].astype(arrays["port"].dtype)}


def _of_order(batches: list[list[int]], right: list[int], size: int) -> Iterator[Mistake]:
    """Yield what is wrong with the sizes of batches, and with the order of their samples."""
    found, first = len(batches[0]), _listed(batches[0])
    whole = [number for batch in batches for number in batch]
    epoch = whole[: len(right)]
    if found != size:
        yield Mistake("batch size", f"a batch has {found} samples, expected {size}")
    kept = len(right) // found * found
    if epoch[:kept] == right[:kept] and (epoch != right[: len(epoch)] or len(whole) == kept):
        if kept < len(right):
            yield known("last batch dropped")
    elif epoch != right[: len(epoch)]:
        if len(epoch) - len(set(epoch)) < FEW:
            yield Mistake("always shuffled", f"the samples come in another order: {first}")
        else:
            yield Mistake("other samples", f"an epoch holds other samples: {first}")


def _listed(numbers: list[int]) -> str:
    return ", ".join(map(str, numbers[:5])) + ", ..."


def known(name: str) -> Mistake:
    """Return a mistake of the catalogue, which is read only where there is one: it loads torch."""
    return import_module("parity_tests.check.book.explain").known(name)
