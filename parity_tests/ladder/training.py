"""Whole trainings side by side: step by step, and by each implementation's own loop."""

from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any

import numpy as np

from parity_tests.ladder.compare import Divergence, Judge, judge_tensors
from parity_tests.ladder.implementation import Implementation
from parity_tests.ladder.oracle import SGD, MakeOracle, Oracle, initial_weights
from parity_tests.ladder.tolerance import MULTIPLE


def train(
    judge: Judge,
    rung: str,
    reference: Implementation,
    port: Implementation,
    free_port: Implementation,
    images: np.ndarray,
    labels: np.ndarray,
    epochs: int,
    batch_size: int = 128,
    learning_rate: float = 1e-3,
    shuffle_seed: int | None = None,
    make_oracle: MakeOracle = Oracle,
) -> Oracle:
    """Judge every step of a training run, in two readings.

    Given the same weights: before each step the port and the oracle take the weights of the
    reference, so that the error of a loss or a gradient is its own. Free running: each
    keeps its own weights, so that drift shows; the reference's own drift from the oracle is
    then the yardstick in float32.

    Args:
        judge: Compares every gradient of each step, the losses and weights of each epoch.
        rung: Under which the comparisons are kept.
        reference: Trained from its weights as they are.
        port: Takes the reference's weights before each step.
        free_port: Trained from the reference's initial weights.
        images: Shape (samples, pixels), in the dtype of the implementations.
        labels: Shape (samples,), int64.
        epochs: Passes over the data set.
        batch_size: The last batch of an epoch holds what is left over.
        learning_rate: Of the oracle; the others bring their own.
        shuffle_seed: Of the order of each epoch, as `fit` draws it; by default the order of
            the data set.
        make_oracle: Given a dtype and an update rule, returns the third computation.

    Returns:
        The oracle that ran freely.
    """
    oracle = make_oracle(reference.dtype)
    free_oracle = make_oracle(reference.dtype, SGD(learning_rate))
    for implementation in (free_port, free_oracle):
        implementation.load_weights(reference.weights())

    compare = partial(judge_tensors, judge, rung, samples=min(batch_size, len(images)))
    for epoch, order in enumerate(_orders(len(images), epochs, shuffle_seed)):
        window = f"epoch {epoch}"
        given, free = [], []
        for batch, start in enumerate(range(0, len(images), batch_size)):
            drawn = order[start : start + batch_size]
            samples = images[drawn], labels[drawn]
            losses, gradients = _step_given_the_same_weights(port, reference, oracle, samples)
            given.append(losses)
            free.append([free_port.step(*samples)[0], losses[1], free_oracle.step(*samples)[0]])
            step = f"epoch {epoch}, batch {batch}"
            compare("gradient", *gradients, step=step, window=window, scales=oracle.scales)

        for reading, of_epoch in (("given the same weights", given), ("free running", free)):
            found = [{reading: np.stack(losses)} for losses in zip(*of_epoch, strict=True)]
            # A loss is the logarithm of a sum near 1, whose rounding it keeps.
            compare("loss", *found, step=window, scales={reading: 1.0})
        found = [one.weights() for one in (free_port, reference, free_oracle)]
        scales = {name: learning_rate * scale for name, scale in oracle.scales.items()}
        compare("weights", *found, step=window, scales=scales)
    return free_oracle


def _step_given_the_same_weights(
    port: Implementation,
    reference: Implementation,
    oracle: Oracle,
    samples: tuple[np.ndarray, np.ndarray],
) -> tuple[list[np.ndarray], list[dict[str, np.ndarray]]]:
    """Return the average losses and the gradients of a step of each."""
    weights = reference.weights()
    port.load_weights(weights)
    oracle.load_weights(weights)
    steps = port.step(*samples), reference.step(*samples), oracle.step(*samples)
    return [loss for loss, _ in steps], [gradients for _, gradients in steps]


def _orders(samples: int, epochs: int, shuffle_seed: int | None) -> Iterator[np.ndarray]:
    """Yield the order of the samples in each epoch, as `fit` of either package draws it."""
    rng = None if shuffle_seed is None else np.random.default_rng(shuffle_seed)
    for _ in range(epochs):
        yield np.arange(samples) if rng is None else rng.permutation(samples)


def clear_labels(probabilities: np.ndarray, error: float) -> np.ndarray:
    """Return which images have a most probable class that rounding cannot change.

    Args:
        probabilities: Shape (samples, classes).
        error: The largest that rounding makes in one of them.

    Returns:
        Booleans, shape (samples,).
    """
    *_, second, first = np.sort(probabilities, axis=1).T
    return first - second > MULTIPLE * error


def evaluation(
    judge: Judge,
    rung: str,
    reference: Implementation,
    port: Implementation,
    oracle: Oracle,
    images: np.ndarray,
    labels: np.ndarray,
) -> None:
    """Judge the predicted label of each image, and the accuracy, of trained models.

    Rounding decides on an image whose two most probable classes are as good as equal. So in
    float32 those are left out, a hundredth of all at most, whose probabilities are no further
    apart than ten times what the reference's own drift changes.
    """
    if reference.dtype == "float32":
        drifted = Oracle()
        drifted.load_weights(reference.weights())
        p, q = (one.probabilities_of(images) for one in (oracle, drifted))
        clear = clear_labels(p, float(np.abs(p - q).max()))
        if clear.mean() < 0.99:
            message = f"{np.count_nonzero(~clear)} of {len(clear)} images have no clear label"
            raise Divergence(rung, "labels", message)
        images, labels = images[clear], labels[clear]
    for name, one in (("port", port), ("oracle", oracle)):
        predicted: dict[str, Any] = {
            name: one.predict(images),
            "reference": reference.predict(images),
        }
        judge(rung, "labels", f"predicted by the {name}", **predicted)
        accuracies: dict[str, Any] = {name: one.accuracy(images, labels)}
        accuracies["reference"] = reference.accuracy(images, labels)
        judge(rung, "accuracy", f"of the {name}", **accuracies)


def fit(
    judge: Judge,
    rung: str,
    reference: Implementation,
    port: Implementation,
    images: np.ndarray,
    labels: np.ndarray,
    make_oracle: MakeOracle = Oracle,
    epochs: int = 2,
    batch_size: int = 100,
    first_example: bool = False,
) -> Oracle:
    """Judge a run of each implementation's own loop.

    Args:
        judge: Compares the losses of all batches, and the weights at the end.
        rung: Under which the comparisons are kept.
        reference: Trained from the weights of seed 0.
        port: Likewise.
        images: Shape (samples, 784), in the dtype of the implementations.
        labels: Shape (samples,), int64.
        make_oracle: Given a dtype, returns the third computation.
        epochs: Passes over the data set.
        batch_size: The last batch of an epoch holds what is left over.
        first_example: Whether that model is trained, by its own loop.

    Returns:
        The oracle, trained.
    """
    trio = (port, reference, make_oracle(reference.dtype))
    weights = initial_weights(0, reference.sizes, reference.dtype)
    if first_example:
        # Of both signs, and large enough for probabilities beyond the bounds of the clip.
        weights = {name: w - w.mean().round(2) for name, w in weights.items()}
        weights["layers.1.W"] *= 100
    losses = []
    for one in trio:
        one.load_weights(weights)
        loop = one.fit_first_example if first_example else one.fit
        losses.append({"of each batch": loop(images, labels, epochs, batch_size)})
    step = "the end of fit"
    judge_tensors(judge, rung, "loss", *losses, step=step, scales={"of each batch": 1.0})
    scales = {name: 1e-3 * scale for name, scale in trio[2].scales.items()}
    found = [one.weights() for one in trio]
    judge_tensors(judge, rung, "weights", *found, step=step, scales=scales)
    return trio[2]


def whole_training(
    judge: Judge,
    reference: Implementation,
    port: Implementation,
    mnist: Mapping[str, np.ndarray],
    epochs: int,
) -> None:
    """Judge a training on MNIST by each implementation's own loop, and what it predicts.

    Args:
        judge: Compares the losses of all batches of 128, the weights at the end, the labels.
        reference: Trained from the weights of seed 0.
        port: Likewise.
        mnist: Images and labels, by name, in the dtype of the implementations.
        epochs: Passes over the training set.
    """
    training, test = (
        (mnist[f"{which} images"], mnist[f"{which} labels"]) for which in ("training", "test")
    )
    oracle = fit(judge, "ten epochs", reference, port, *training, epochs=epochs, batch_size=128)
    evaluation(judge, "ten epochs", reference, port, oracle, *test)
