"""Asking a program for steps of its training: found out by trying what it answers."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np

from parity_tests.check.book.mapping import Matching
from parity_tests.check.book.seen import SeenStep, Weights, steps_of
from parity_tests.check.messages import NotObservable, PortError, UnusablePort
from parity_tests.check.process import Process
from parity_tests.check.samples import IMAGES, LABELS, Samples, Scale
from parity_tests.ladder.directed_inputs import directed_weights
from parity_tests.ladder.oracle import Oracle

NEAR = 1e-3
"""Relative difference up to which numbers count as the right ones, whatever the rounding."""

CALLED = 1000
"""Samples of a call whose weights are made in it."""

SURVEY = 3
"""Steps of the survey."""


@dataclass
class Asked:
    """A program whose training was found.

    Attributes:
        process: Of the program.
        weights: As the survey saw them.
        matching: Of the weights with those of the reference.
        first: The steps of the survey, from the program's own weights.
        drive: What is called, and how; None for a program that trains when it is run.
    """

    process: Process
    weights: Weights
    matching: Matching
    first: list[SeenStep]
    drive: dict[str, Any] | None

    @property
    def dtype(self) -> str:
        """Of the weights."""
        return self.first[0].dtype

    def run(
        self,
        weights: Mapping[str, np.ndarray] | None,
        images: np.ndarray,
        labels: np.ndarray,
        steps: int,
        batch_size: int = 128,
        **options: Any,
    ) -> list[SeenStep]:
        """Return the steps that it takes from some weights.

        Args:
            weights: By the names of the reference; None for its own.
            images: Shape (n, 784), from 0 to 1; a program that trains when it is run has its own.
            labels: Shape (n,), likewise.
            steps: How many, at most.
            batch_size: Of what is called.
            **options: For `Process.ask`; "drive" changes what is called.
        """
        drive = self.driven(batch_size)
        if drive is not None:
            drive |= options.pop("drive", {})
        said, arrays = self.ask(weights, images, labels, steps, drive=drive, **options)
        if said["error"]:
            raise PortError(f"{self.process.path} raised an error: {said['ended']}")
        given = (images, labels) if drive is not None else None
        return steps_of(said, arrays, self.weights, self.matching, given, batch_size)

    def driven(self, batch_size: int = 128) -> dict[str, Any] | None:
        """Return how it is called for one epoch; None for a program that trains when it is run."""
        if self.drive is None:
            return None
        return {**self.drive, "batch_size": batch_size, "epochs": 1}

    def ask(
        self,
        weights: Mapping[str, np.ndarray] | None,
        images: np.ndarray,
        labels: np.ndarray,
        steps: int,
        **options: Any,
    ) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        """Return the bare answer to what `run` asks."""
        arrays: dict[str, np.ndarray] = {}
        if weights is not None:
            arrays = {
                str(self.weights.identities[name]): array
                for name, array in self.matching.to_port(weights).items()
            }
        if self.drive is not None:
            arrays |= {"images": images, "labels": labels}
        else:
            options.pop("drive", None)
        return self.process.ask(steps, arrays, **options)


def find_training(process: Process, samples: Samples) -> Asked:
    """Return the training of a program: that which it does when it is run, or by being called.

    Args:
        process: Of the program.
        samples: MNIST, with whose first batch it is called.

    Raises:
        UnusablePort: If there is none, or it is not one of the book's network.
    """
    kind = "float64" if process.double else "float32"
    images, labels = (samples.images[:128] / 255).astype(kind), samples.labels[:128]
    while process.waits["at"] == "pass":
        said, arrays = process.ask(SURVEY, named=True)
        if said["steps"] and (first := said["steps"][0]["pass"]) != process.waits["number"]:
            process.go_on(first)
        elif said["steps"]:
            return _matched(process, said, arrays, None, images, labels)
        elif said["open"]:
            raise UnchangedError(said)
        else:
            process.go_on(-1)
    return _called(process, samples, images, labels)


class UnchangedError(Exception):
    """Gradients are taken, and no weight ever changes."""


def _matched(
    process: Process,
    said: dict[str, Any],
    arrays: dict[str, np.ndarray],
    drive: dict[str, Any] | None,
    images: np.ndarray,
    labels: np.ndarray,
) -> Asked:
    """Return the training with the weights matched as gives the reference's numbers."""
    weights = Weights.of(said["steps"][0])
    try:
        ways = weights.matchings()
    except UnusablePort as error:
        raise UnusablePort(f"{process.path}: {error}") from error
    given = (images, labels) if drive is not None else None

    def matched(way: Matching) -> Asked:
        return Asked(process, weights, way, steps_of(said, arrays, weights, way, given), drive)

    for way in ways if len(ways) > 1 else ():
        asked = matched(way)
        directed = directed_weights(asked.dtype, way.sizes)["biases"]
        if is_near(asked.run(directed, images, labels, 1)[0], Oracle(asked.dtype)):
            return asked
    return matched(ways[0])


def is_near(step: SeenStep, oracle: Oracle) -> bool:
    """Return whether the layers or the loss of a step are those of the reference."""
    oracle.load_weights(step.before)
    for index, layer in enumerate(step.layers):
        right = oracle.dense(index, layer.inputs)
        if layer.outputs.shape != right.shape:
            return False
        if np.abs(layer.outputs - right).max() > NEAR * np.abs(right).max():
            return False
    if step.layers:
        return True
    right_loss = oracle.gradients(step.images, step.labels)[0]
    return bool(abs(step.loss - right_loss) <= NEAR * abs(right_loss))


def _forms() -> Iterator[tuple[str, str, bool]]:
    """Yield the forms in which data are given, the usual ones first."""
    for bare, of_labels in [*product([False], LABELS), (True, "labels")]:
        for of_images in IMAGES:
            yield of_images, of_labels, bare


def _called(process: Process, samples: Samples, images: np.ndarray, labels: np.ndarray) -> Asked:
    """Return the training of what a file defines: the first call that changes weights."""
    problem: PortError | None = None
    unchanged: dict[str, Any] | None = None
    for call, model in product(process.waits["calls"], process.waits["models"]):
        best: tuple[float, Any] | None = None
        for form in _forms() if call["takes"] else [next(_forms())]:
            drive = {"name": call["name"], "model": model, "form": form}
            drive |= {"batch_size": len(images), "epochs": 1}
            arrays = {"images": images, "labels": labels}
            try:
                said, found = process.ask(SURVEY, arrays, named=True, drive=drive)
            except (PortError, NotObservable) as error:
                problem = problem or error
                continue
            if not said["steps"]:
                unchanged = unchanged or (said if said["open"] and said["strange"] else None)
                if not said["error"]:
                    break
                continue
            try:
                asked = _matched(process, said, found, drive, images, labels)
            except UnusablePort as error:
                problem = problem or error
                break
            distance = _distance(asked, samples)
            if best is None or distance < best[0]:
                best = distance, asked
            if not distance:
                break
        if best is not None:
            return _settable(best[1], samples)
    if unchanged is not None:
        raise UnchangedError(unchanged)
    names = ", ".join(call["name"] for call in process.waits["calls"])
    raise problem or UnusablePort(
        f"{process.path}: {names} takes no gradients by autograd, and changes no weight that could "
        "be found: name the training step with --step, or its model with --model"
    )


def _settable(asked: Asked, samples: Samples) -> Asked:
    """Return a training whose weights can be set.

    Weights that are made in the call itself are there only once it is called: then the process
    calls it, and waits in it as in a program that trains when it is run.
    """
    images, labels = samples.images[:CALLED] / 255, samples.labels[:CALLED]
    images = images.astype(asked.dtype)
    try:
        asked.run(asked.first[0].before, images[:128], labels[:128], 1)
    except NotObservable:
        drive = asked.driven()
        assert drive is not None, "it is called"
        asked.process.call({"images": images, "labels": labels}, drive)
        return find_training(asked.process, samples)
    return asked


def _distance(asked: Asked, samples: Samples) -> float:
    """Return how far the images that the model was given are from those of MNIST; 0 if equal."""
    step = asked.first[0]
    if not step.layers:
        return 0.0 if is_near(step, Oracle(asked.dtype)) else 1.0
    found = samples.recognized(step.images)
    if not found.known or found.scale is None:
        return float("inf")
    scale: Scale = found.scale
    if scale.right:
        return 0.0
    return abs(float(np.log(abs(scale.factor) or 1e-300))) + abs(scale.offset)
