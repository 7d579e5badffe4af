"""A training that one package begins and the other ends, from its checkpoint."""

import io
from collections.abc import Callable, Mapping
from contextlib import redirect_stderr, redirect_stdout, suppress
from dataclasses import asdict
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from parity_tests.ladder.adapters import PackageAdapter
from parity_tests.program.checkpoints import Checkpoints
from parity_tests.program.frameworks import FRAMEWORKS, Twin
from parity_tests.program.train import Course


class _Interrupted(Exception):  # noqa: N818 (nothing is wrong)
    pass


class Resumed:
    """An implementation whose training is interrupted, and goes on in another one.

    Args:
        begins: Trains until a batch of the second epoch is done, and writes a checkpoint.
        ends: Takes the checkpoint, and trains to the end.
    """

    def __init__(self, begins: PackageAdapter, ends: PackageAdapter) -> None:
        self.begins, self.ends = begins, ends

    def load_weights(self, weights: Mapping[str, np.ndarray]) -> None:
        """Replace the weights."""
        self.begins.load_weights(weights)

    def weights(self) -> dict[str, np.ndarray]:
        """Return the weights."""
        return self.ends.weights()

    def fit(
        self, images: np.ndarray, labels: np.ndarray, epochs: int, batch_size: int
    ) -> np.ndarray:
        """Train in the order of the data set; return the average loss of each batch."""
        losses: list[float] = []
        with TemporaryDirectory() as folder:
            for one in (self.begins, self.ends):
                loop = partial(one.training.fit, one.model, update_weights=one.update_weights)
                step = one.training.one_training_step
                train = partial(self._part, one, Path(folder), loop, step, {}, losses)
                train(images, labels, epochs, batch_size)
        return np.array(losses, self.ends.dtype)

    def fit_first_example(
        self, images: np.ndarray, labels: np.ndarray, epochs: int, batch_size: int
    ) -> np.ndarray:
        """Train the first example from the weights, which change; return what `fit` does."""
        losses: list[float] = []
        with TemporaryDirectory() as folder:
            for one in (self.begins, self.ends):
                with one.as_first_example() as first_example:
                    optimizer = first_example.rmsprop(one.model)
                    state = first_example.named_velocities(one.model, optimizer)
                    loop = partial(first_example.fit, one.model, optimizer=optimizer)
                    step = first_example.one_training_step
                    train = partial(self._part, one, Path(folder), loop, step, state, losses)
                    train(images, labels, epochs, batch_size)
        return np.array(losses, self.ends.dtype)

    def _part(
        self,
        one: PackageAdapter,
        folder: Path,
        loop: Callable,
        step: Callable,
        state: Mapping[str, Any],
        losses: list[float],
        images: np.ndarray,
        labels: np.ndarray,
        epochs: int,
        batch_size: int,
    ) -> None:
        """Train until the checkpoint, or from it on."""
        tensors = {**one.files.named_weights(one.model), **state}
        twin = Twin(FRAMEWORKS[one.package_name])
        checkpoints = Checkpoints(twin, folder, {"epochs": epochs})
        course = Course()

        def on_step(epoch: int, batch: int, loss: float) -> None:
            losses.append(loss)
            if one is self.begins and epoch == 1:
                of_epoch = course.total_loss, course.matches
                checkpoints.save(tensors, asdict(Course(epoch, batch + 1, *of_epoch)), None)
                raise _Interrupted

        with redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()), suppress(_Interrupted):
            if one is self.ends:
                found = checkpoints.load(tensors, other_framework=True)
                course = Course(**found["progress"])
            loop(
                one.to_tensor(images),
                one.to_tensor(labels),
                epochs,
                batch_size,
                start=course.start(twin),
                step=course.watched(step),
                on_step=on_step,
                on_epoch=lambda epoch: course.__dict__.update(vars(Course(epoch + 1))),
            )
        checkpoints.close()
