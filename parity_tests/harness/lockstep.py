"""The ladder: the reference, the port and the oracle side by side, rung by rung.

Each rung is judged given the same input, so that one mistake does not shake all above it.
In float32 the oracle is the truth and the reference the yardstick; in float64 the port and
the oracle both have to agree with the reference.
"""

import math
from functools import partial

import numpy as np

from parity_tests.harness.adapters import Implementation
from parity_tests.harness.compare import Divergence, Judge
from parity_tests.harness.oracle import Oracle, initial_weights

RUNGS = (
    "data",
    "initial weights",
    "layer outputs",
    "loss",
    "gradients",
    "one update",
    "trajectory",
    "ten epochs",
)


def directed_weights(dtype: str) -> dict[str, dict[str, np.ndarray]]:
    """Returns weights of the 784-512-10 model that reach branches which training seldom meets."""
    plain = initial_weights(0, dtype=dtype)
    kink = {**plain, "layers.0.W": plain["layers.0.W"].copy()}
    kink["layers.0.W"][:, :256] = 0  # pre-activations of exactly 0
    tie = {**plain, "layers.1.W": plain["layers.1.W"].copy()}
    tie["layers.1.W"][:, 7] = tie["layers.1.W"][:, 4]  # two equal probabilities
    saturated = {**plain, "layers.1.W": plain["layers.1.W"].copy()}
    saturated["layers.1.W"][:, 3] *= 100  # logits near 1e4: one probability is 1, nine are 0
    return {
        "seed 0": plain,
        "seed 7": initial_weights(7, dtype=dtype),  # two samples of the first batch are clipped
        "kink": kink,
        "tie": tie,
        "saturated": saturated,
    }


def directed_predictions(dtype: str) -> tuple[np.ndarray, np.ndarray]:
    """Returns probabilities at and beyond the bounds of the clip, and labels 0 to 9 for each."""
    rows = np.full((6, 10), 0.1)
    rows[1] = np.eye(10)[0]  # p = 1, and p = 0 nine times
    rows[2] = [1 - 9e-8, *[1e-8] * 9]  # every p beyond a bound
    rows[3] = [1 - 9e-7, *[1e-7] * 9]  # on the lower bound
    rows[4] = [1 - 1e-7, 1e-7, *[0.0] * 8]  # on both bounds
    rows[5] = [0.5, 0.5, *[0.0] * 8]  # a tie
    rows = np.concatenate([rows, rows[:, ::-1]])
    return rows.repeat(10, axis=0).astype(dtype), np.tile(np.arange(10), len(rows))


def three_ways(
    judge: Judge,
    rung: str,
    quantity: str,
    tensor: str,
    *,
    port: np.ndarray,
    reference: np.ndarray,
    oracle: np.ndarray,
    step: str = "",
    scale: float = 0.0,
) -> None:
    """Judges the port, given what the reference and the oracle made of the same input."""
    of_tensor = partial(judge, rung, quantity, step=step, scale=scale)
    if reference.dtype == np.float32:
        of_tensor(tensor, port=port, oracle=oracle, reference=reference)
    else:
        of_tensor(tensor, port=port, reference=reference)
        of_tensor(f"{tensor} of the oracle", oracle=oracle, reference=reference)


def layer_outputs(
    judge: Judge, reference: Implementation, port: Implementation, images: np.ndarray
) -> None:
    """Judges each layer, given the reference's output of the layer below, and the labels.

    Args:
        judge: Compares the outputs of batches of 128, 96 and 1.
        reference: Takes each of the directed weights in turn.
        port: Likewise.
        images: Shape (128, 784), in the dtype of the implementations.
    """
    oracle = Oracle(reference.dtype)
    for case, weights in directed_weights(reference.dtype).items():
        for implementation in (reference, port, oracle):
            implementation.load_weights(weights)
        for size in (128, 96, 1):
            inputs = images[:size]
            step = f"{case}, batch of {size}"
            for index in range(len(weights) // 2):
                output = reference.layer_output(index, inputs)
                three_ways(
                    judge,
                    "layer outputs",
                    "layer output",
                    f"layers.{index}",
                    port=port.layer_output(index, inputs),
                    reference=output,
                    oracle=oracle.layer_output(index, inputs.astype(np.float64)),
                    step=step,
                )
                inputs = output
            judge(
                "layer outputs",
                "labels",
                "predicted",
                port=port.predict(images[:size]),
                reference=reference.predict(images[:size]),
                step=step,
            )


def losses(judge: Judge, reference: Implementation, port: Implementation) -> None:
    """Judges the loss of each sample, given the same directed predictions."""
    predictions, labels = directed_predictions(reference.dtype)
    three_ways(
        judge,
        "loss",
        "loss",
        "of each sample",
        port=port.losses(labels, predictions),
        reference=reference.losses(labels, predictions),
        oracle=Oracle(reference.dtype).losses(labels, predictions),
        scale=1.0,  # a loss is the logarithm of a sum near 1
    )


def gradients(
    judge: Judge,
    reference: Implementation,
    port: Implementation,
    images: np.ndarray,
    labels: np.ndarray,
) -> None:
    """Judges the gradient of each weight, given the same weights and batch.

    Args:
        judge: Compares the gradients of batches of 128, 96 and 1, and of batches in which
            every label is 0 or 9.
        reference: Takes each of the directed weights in turn.
        port: Likewise.
        images: Shape (128, 784), in the dtype of the implementations.
        labels: Shape (128,), int64.
    """
    oracle = Oracle(reference.dtype)
    batches = {f"batch of {size}": (images[:size], labels[:size]) for size in (128, 96, 1)}
    batches |= {f"labels {label}": (images, np.full_like(labels, label)) for label in (0, 9)}
    for case, weights in directed_weights(reference.dtype).items():
        for implementation in (reference, port, oracle):
            implementation.load_weights(weights)
        for name, batch in batches.items():
            of_port, of_reference, of_oracle = (
                implementation.gradients(*batch)[1] for implementation in (port, reference, oracle)
            )
            for tensor in of_reference:
                three_ways(
                    judge,
                    "gradients",
                    "gradient",
                    tensor,
                    port=of_port[tensor],
                    reference=of_reference[tensor],
                    oracle=of_oracle[tensor],
                    step=f"{case}, {name}",
                    scale=oracle.scales[tensor],
                )


def one_update(
    judge: Judge, reference: Implementation, port: Implementation, rule: str = "update by hand"
) -> None:
    """Judges the weights after two updates, given the same weights and gradients.

    Args:
        judge: Compares the weights after each update.
        reference: Takes the weights of seed 0.
        port: Takes the reference's weights before each update.
        rule: The row of the tolerance table.
    """
    weights = initial_weights(0, dtype=reference.dtype)
    reference.load_weights(weights)
    rng = np.random.default_rng(1)
    for step in ("first update", "second update"):
        given = {
            name: rng.standard_normal(w.shape).astype(reference.dtype)
            for name, w in weights.items()
        }
        before = reference.weights()
        port.load_weights(before)
        port.update(given)
        reference.update(given)
        of_port, of_reference = port.weights(), reference.weights()
        for name in weights:
            judge(
                "one update",
                rule,
                name,
                port=of_port[name],
                reference=of_reference[name],
                step=step,
                scale=np.abs(before[name]),
            )


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
) -> Oracle:
    """Judges every step of a training run, in two readings.

    Given the same input: before each step the port and the oracle take the weights of the
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
        epochs: Passes over the data set, in its order.
        batch_size: The last batch of an epoch holds what is left over.
        learning_rate: Of the oracle; the others bring their own.

    Returns:
        The oracle that ran freely.
    """
    dtype = reference.dtype
    oracle, free_oracle = Oracle(dtype), Oracle(dtype, learning_rate)
    for implementation in (free_port, free_oracle):
        implementation.load_weights(reference.weights())

    for epoch in range(epochs):
        given: dict[str, list[float]] = {"port": [], "reference": [], "oracle": []}
        free: dict[str, list[float]] = {"port": [], "oracle": []}
        for batch in range(math.ceil(len(images) / batch_size)):
            samples = slice(batch * batch_size, (batch + 1) * batch_size)
            images_batch, labels_batch = images[samples], labels[samples]
            weights = reference.weights()
            port.load_weights(weights)
            oracle.load_weights(weights)
            loss, of_reference = reference.step(images_batch, labels_batch)
            given["reference"].append(loss)
            loss, of_port = port.gradients(images_batch, labels_batch)
            given["port"].append(loss)
            loss, of_oracle = oracle.gradients(images_batch, labels_batch)
            given["oracle"].append(loss)
            for name in of_reference:
                three_ways(
                    judge,
                    rung,
                    "gradient",
                    name,
                    port=of_port[name],
                    reference=of_reference[name],
                    oracle=of_oracle[name],
                    step=f"epoch {epoch}, batch {batch}",
                    scale=oracle.scales[name],
                )
            free["port"].append(free_port.step(images_batch, labels_batch)[0])
            free["oracle"].append(free_oracle.step(images_batch, labels_batch)[0])
        for reading, of_port, of_oracle in (
            ("given the same weights", given["port"], given["oracle"]),
            ("free running", free["port"], free["oracle"]),
        ):
            three_ways(
                judge,
                rung,
                "loss",
                reading,
                port=np.array(of_port, dtype),
                reference=np.array(given["reference"], dtype),
                oracle=np.array(of_oracle),
                step=f"epoch {epoch}",
                scale=1.0,  # a loss is the logarithm of a sum near 1
            )
        weights = free_port.weights(), reference.weights(), free_oracle.weights()
        for name in weights[0]:
            port_weight, reference_weight, oracle_weight = (of[name] for of in weights)
            three_ways(
                judge,
                rung,
                "weights",
                name,
                port=port_weight,
                reference=reference_weight,
                oracle=oracle_weight,
                step=f"epoch {epoch}",
                scale=learning_rate * oracle.scales[name],
            )
    return free_oracle


def evaluation(
    judge: Judge,
    rung: str,
    reference: Implementation,
    port: Implementation,
    oracle: Oracle,
    images: np.ndarray,
    labels: np.ndarray,
) -> None:
    """Judges the predicted label of each image, and the accuracy, of trained models."""
    of_reference = reference.predict(images)
    for name, predicted in (("port", port.predict(images)), ("oracle", oracle.predict(images))):
        judge(rung, "labels", f"predicted by the {name}", port=predicted, reference=of_reference)
        judge(
            rung,
            "accuracy",
            f"of the {name}",
            port=np.mean(predicted == labels),
            reference=np.mean(of_reference == labels),
        )


def climb(
    reference: Implementation,
    port: Implementation,
    free_port: Implementation,
    images: np.ndarray,
    labels: np.ndarray,
) -> dict[str, Divergence]:
    """Tries the rungs from the layer outputs to a short trajectory; none stops the climb.

    Args:
        reference: Its weights are changed.
        port: Its weights are changed.
        free_port: A second instance of the port, for the free-running reading.
        images: Shape (at least 300, 784), in the dtype of the implementations.
        labels: Shape (at least 300,), int64.

    Returns:
        The first divergence of each rung that failed.
    """
    judge = Judge()
    images, labels = images[:300], labels[:300]
    batch = images[:128], labels[:128]

    def trajectory() -> None:
        reference.load_weights(initial_weights(0, dtype=reference.dtype))
        train(judge, "trajectory", reference, port, free_port, images, labels, epochs=2)

    found = {}
    for rung in (
        partial(layer_outputs, judge, reference, port, batch[0]),
        partial(losses, judge, reference, port),
        partial(gradients, judge, reference, port, *batch),
        partial(one_update, judge, reference, port),
        trajectory,
    ):
        try:
            rung()
        except Divergence as divergence:
            found[divergence.rung] = divergence
    return found
