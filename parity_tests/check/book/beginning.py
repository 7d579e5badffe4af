"""What a training begins with: its data and its initial weights."""

from dataclasses import dataclass, field
from importlib import import_module
from typing import Any

import numpy as np

from parity_tests.check.book.asking import Asked
from parity_tests.check.book.rungs import RUNGS, Seen
from parity_tests.check.messages import NotObservable, PortError
from parity_tests.check.results import Mistake, Observation, Verdicts
from parity_tests.check.samples import Samples
from parity_tests.ladder.compare import Divergence, Judge
from parity_tests.ladder.oracle import Oracle


@dataclass
class Beginning:
    """What a program begins with.

    Attributes:
        asked: The program.
        samples: MNIST, to be recognized.
        verdicts: Takes what is found.
        seen: Takes what its `load_mnist` returns.
        judge_of: Compares.
        loaded: What its `load_mnist` should return, by name.
    """

    asked: Asked
    samples: Samples
    verdicts: Verdicts
    seen: Seen
    judge_of: Judge
    loaded: dict[str, np.ndarray] = field(default_factory=dict)

    @property
    def names(self) -> list[str]:
        """What of the book the file has, by its names."""
        return self.asked.process.waits.get("names", [])

    def _oracle(self, dtype: str) -> Oracle:
        oracle = Oracle(dtype)
        oracle.mnist = self.loaded
        return oracle

    def judge_data(self) -> str | None:
        """Judge the images and labels; return what is to be added to a pass."""
        if "load_mnist" in self.names:
            return self._load_mnist()
        step = self.asked.first[0]
        found = self.samples.recognized(step.images)
        if not found.known:
            raise NotObservable("its images are not those of MNIST")
        pixels = self.samples.images[found.numbers] / 255
        if found.scale is None or not found.scale.right:
            self._find_scale(step.images, pixels, found.scale)
        elif self.asked.drive is not None or "given" in self.asked.process.waits:
            raise NotObservable("the file has no load_mnist")
        labels = self.samples.labels[found.numbers]
        if not np.array_equal(labels, step.labels):
            wrong = np.count_nonzero(labels != step.labels)
            if step.labels.min() < 0:
                raise NotObservable("the labels that its outputs meet are not seen")
            for shift in (-1, 1):
                if np.array_equal(np.roll(labels, shift)[1:-1], step.labels[1:-1]):
                    sentence = f"each image has the label of the {'next' if shift < 0 else 'last'}"
                    mistake = Mistake("labels shifted", f"{sentence} image")
                    self.verdicts.findings.append(Observation("data", mistake))
            raise Divergence("data", "labels", f"{wrong} of {len(labels)} labels are of others")
        return "(images and labels of MNIST, from 0 to 1)"

    def _find_scale(self, images: np.ndarray, pixels: np.ndarray, scale: Any) -> None:
        known = import_module("parity_tests.check.book.explain").of_images(images, pixels)
        sentence = "its pixels are no multiple of those of MNIST"
        if scale is not None:
            sentence = f"pixels are from {scale.offset:.6g} to {scale.factor + scale.offset:.6g}"
        mistake = known or f"{sentence}, expected 0 to 1"
        self.verdicts.findings.append(Observation("data", mistake))
        raise Divergence("data", "pixels", f"in its batches {sentence}, expected 0 to 1")

    def _load_mnist(self) -> str | None:
        assert self.asked.drive is not None, "it is called"
        drive = {**self.asked.drive, "name": "load_mnist", "dtype": self.asked.dtype}
        drive["folder"] = str(self.asked.process.data.absolute())
        said, arrays = self.asked.ask(
            None, self.samples.images[:1] / 255, self.samples.labels[:1], 0, drive=drive
        )
        if said["error"]:
            raise PortError(
                f"{self.asked.process.path} raised an error in load_mnist: {said['ended']}"
            )
        found = {k.removeprefix("returned "): a for k, a in arrays.items()}
        form = self.asked.drive["form"][0]
        for name in ("training images", "test images"):
            found[name] = found[name].reshape(len(found[name]), -1)
            raw = found[name].dtype == np.uint8
            if raw and "from 0 to 1" in form:
                raise NotObservable("it loads bytes, and what divides them is not seen")
        for name, array in self.asked.process.mnist.items():
            scaled = name.endswith("images") and "from 0 to 1" in form
            self.loaded[name] = array / 255 if scaled else array
        self.seen.data = found
        RUNGS["data"](self.judge_of, self.seen, self._oracle)
        return None

    def judge_weights(self) -> None:
        """Judge the range of the weights that a training starts from: nobody knows what it drew."""
        first = self.asked.first[0].before
        if self.asked.drive is not None and "NaiveDense" not in self.names:
            raise NotObservable("the file has no NaiveDense")
        for name, w in sorted(first.items()):
            if name.endswith("b"):
                expected, right = "0", not w.any()
            else:  # the mean of the 5,120 or more numbers strays by 0.0004
                expected = "uniform in [0, 0.1)"
                right = bool(w.min() >= 0 and w.max() <= 0.1 and abs(np.mean(w) - 0.05) < 0.005)
            if not right:
                found = f"from {w.min():.3g} to {w.max():.3g}, mean {w.mean():.3g}"
                text = f"{name} starts {found}: expected {expected}"
                if self.asked.drive is None and not self._defines("NaiveDense"):
                    raise NotObservable(f"{text}; the check puts the reference's in")
                raise Divergence("initial weights", "initial weights", text)

    def _defines(self, name: str) -> bool:
        return f"class {name}" in self.asked.process.path.read_text("utf-8", errors="ignore")
