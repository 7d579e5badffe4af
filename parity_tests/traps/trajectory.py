"""Mistakes in the loop over batches and epochs."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from parity_tests.ladder.oracle import Oracle
from parity_tests.traps.one_update import Update
from parity_tests.traps.trap import Trap, instead

FIT = "torch_port.training.fit"
STEP = "torch_port.training.one_training_step"
BATCHES = "torch_port.training.BatchGenerator"


class OtherBatches(Oracle):
    def first_example(self) -> Oracle:
        right = super().first_example()
        right.batches = self.batches  # type: ignore[method-assign] # one generator serves both
        return right


class LastBatchDropped(OtherBatches):
    def batches(self, samples: int, epochs: int, batch_size: int) -> Iterator[tuple[int, slice]]:
        yield from super().batches(samples // batch_size * batch_size, epochs, batch_size)


class BatchSizeUnused(OtherBatches):
    def batches(self, samples: int, epochs: int, batch_size: int) -> Iterator[tuple[int, slice]]:
        yield from super().batches(samples, epochs, 128)


class LastEpochNotRun(Oracle):
    def batches(self, samples: int, epochs: int, batch_size: int) -> Iterator[tuple[int, slice]]:
        yield from super().batches(samples, epochs - 1, batch_size)


class RateHalved(Update):
    def direction(self, name: str, g: np.ndarray, w: np.ndarray) -> np.ndarray:
        return super().direction(name, g, w) * 0.5**self.epoch


class LossAfterTheUpdate(Oracle):
    def step(
        self, images: np.ndarray, labels: np.ndarray
    ) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        _, gradients = super().step(images, labels)
        return super().gradients(images, labels)[0], gradients


def last_batch_dropped(batch_generator: Any) -> Any:
    class Dropping(batch_generator):
        def __init__(self, images: Any, *arguments: Any) -> None:
            super().__init__(images, *arguments)
            self.num_batches = len(images) // self.batch_size

    return Dropping


def batch_size_unused(batch_generator: Any) -> Any:
    return lambda images, labels, batch_size=128, order=None: batch_generator(
        images, labels, 128, order
    )


def last_epoch_not_run(fit: Callable) -> Callable:
    return lambda model, images, labels, epochs, *arguments, **options: fit(
        model, images, labels, epochs - 1, *arguments, **options
    )


def rate_halved(fit: Callable) -> Callable:
    def wrong(
        model: Any,
        images: Any,
        labels: Any,
        epochs: int,
        batch_size: int = 128,
        *,
        update_weights: Callable,
        **options: Any,
    ) -> None:
        steps = iter(range(epochs * -(-len(images) // batch_size)))

        def decayed(gradients: Sequence, weights: Sequence) -> None:
            epoch = next(steps) // -(-len(images) // batch_size)
            update_weights([g * 0.5**epoch for g in gradients], weights)

        fit(model, images, labels, epochs, batch_size, update_weights=decayed, **options)

    return wrong


def loss_after_the_update(one_training_step: Callable) -> Callable:
    def step(model: Any, x: Any, y: Any, update_weights: Callable) -> Any:
        one_training_step(model, x, y, update_weights)
        return one_training_step(model, x, y, lambda g, w: None)

    return step


def always_shuffled(fit: Callable) -> Callable:
    return lambda *arguments, **options: fit(*arguments, **{**options, "shuffle_seed": 5})


TRAPS = [
    Trap(
        "last batch dropped",
        "the last, partial batch of an epoch is dropped",
        "4Dsurvival#11; DataLoader(drop_last=True)",
        "trajectory",
        instead(BATCHES, last_batch_dropped),
        LastBatchDropped,
    ),
    Trap(
        "batch size unused",
        "fit takes a batch size, and uses 128",
        "the book's listing of fit",
        "trajectory",
        instead(BATCHES, batch_size_unused),
        BatchSizeUnused,
    ),
    Trap(
        "last epoch not run",
        "the last epoch is not run",
        "range(1, epochs)",
        "trajectory",
        instead(FIT, last_epoch_not_run),
        LastEpochNotRun,
    ),
    Trap(
        "rate halved each epoch",
        "a schedule halves the learning rate after each epoch",
        "torch.optim.lr_scheduler.StepLR in a training template",
        "trajectory",
        instead(FIT, rate_halved),
        RateHalved,
    ),
    Trap(
        "loss after the update",
        "the loss that is reported is that after the update",
        "a second forward pass for the metrics",
        "trajectory",
        instead(STEP, loss_after_the_update),
        LossAfterTheUpdate,
    ),
    Trap(
        "always shuffled",
        "the samples are shuffled in each epoch",
        "tensorflow#36626; DataLoader(shuffle=True), and Keras's fit does it by default",
        "trajectory",
        instead(FIT, always_shuffled),
        None,
    ),
]
