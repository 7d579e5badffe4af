"""The ladder: the reference, the port and the oracle side by side, rung by rung.

Each rung is judged given the same input, so that one mistake does not shake all above it.
In float32 the oracle is the truth and the reference the yardstick; in float64 the port and
the oracle both have to agree with the reference.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

from parity_tests.ladder.compare import Divergence, Judge, judge_tensors
from parity_tests.ladder.directed_inputs import directed_predictions, directed_weights
from parity_tests.ladder.implementation import Implementation
from parity_tests.ladder.oracle import MakeOracle, Oracle, initial_weights
from parity_tests.ladder.training import fit, train

PORT_ERRORS = (ArithmeticError, LookupError, RuntimeError, TypeError, ValueError)
"""What an implementation raises that cannot do what is asked of it."""

RUNGS = (
    "data",
    "initial weights",
    "layer outputs",
    "loss",
    "gradients",
    "one update",
    "trajectory",
    "ten epochs",
    "first example",
    "resumed",
    "ranks",
)

LADDER = tuple(rung for rung in RUNGS if rung not in ("ten epochs", "resumed", "ranks"))
"""The rungs that `rungs` returns: those that need no minutes, checkpoints or other processes."""


def data(judge: Judge, reference: Implementation, port: Implementation) -> None:
    """Judge the images and the labels of MNIST, as each loads them."""
    of_port, of_reference = port.data(), reference.data()
    for name, array in of_reference.items():
        quantity = "labels" if name.endswith("labels") else "pixels"
        arrays: dict[str, Any] = {"port": of_port[name], "reference": array}
        judge("data", quantity, name, **arrays)


def first_weights(judge: Judge, reference: Implementation, port: Implementation) -> None:
    """Judge the weights that two seeds give."""
    for seed in (0, 7):
        of_port, of_reference = port.initial_weights(seed), reference.initial_weights(seed)
        for name, w in of_reference.items():
            arrays: dict[str, Any] = {"port": of_port[name], "reference": w}
            judge("initial weights", "initial weights", name, step=f"seed {seed}", **arrays)


def layer_outputs(
    judge: Judge,
    reference: Implementation,
    port: Implementation,
    images: np.ndarray,
    make_oracle: MakeOracle = Oracle,
) -> None:
    """Judge each layer, given the reference's output of the layer below, and the labels.

    Args:
        judge: Compares the outputs of batches of 128, 96 and 1.
        reference: Takes each of the directed weights in turn.
        port: Likewise.
        images: Shape (128, 784), in the dtype of the implementations.
        make_oracle: Given a dtype, returns the third computation.
    """
    oracle = make_oracle(reference.dtype)
    trio = (port, reference, oracle)
    for case, weights in directed_weights(reference.dtype, reference.sizes).items():
        for implementation in trio:
            implementation.load_weights(weights)
        for size in (128, 96, 1):
            step = f"{case}, batch of {size}"
            inputs = images[:size]
            for index in range(len(weights) // 2):
                name = f"layers.{index}"
                outputs = [{name: one.layer_output(index, inputs)} for one in trio]
                judge_tensors(judge, "layer outputs", "layer output", *outputs, step=step)
                inputs = outputs[1][name].astype(images.dtype)
            labels: dict[str, Any] = {"port": port.predict(images[:size])}
            labels["reference"] = reference.predict(images[:size])
            judge("layer outputs", "labels", "predicted", step=step, **labels)


def losses(
    judge: Judge,
    reference: Implementation,
    port: Implementation,
    make_oracle: MakeOracle = Oracle,
) -> None:
    """Judge the loss of each sample and its gradient, given the same directed predictions."""
    predictions, labels = directed_predictions(reference.dtype)
    trio = (port, reference, make_oracle(reference.dtype))
    found = [{"at the clip": one.losses(labels, predictions)} for one in trio]
    step, scales = f"{len(labels)} directed predictions", {"at the clip": 1.0}
    judge_tensors(judge, "loss", "loss of each sample", *found, step=step, scales=scales)
    shares = np.full(len(labels), 1 / len(labels), reference.dtype)
    found = [{"predictions": one.losses_gradient(labels, predictions, shares)} for one in trio]
    judge_tensors(judge, "loss", "gradient", *found, step=step)


def gradients(
    judge: Judge,
    reference: Implementation,
    port: Implementation,
    images: np.ndarray,
    labels: np.ndarray,
    make_oracle: MakeOracle = Oracle,
) -> None:
    """Judge the gradient of each weight, given the same weights and batch.

    Args:
        judge: Compares the gradients of batches of 128, 96 and 1, and of batches in which
            every label is 0 or 9.
        reference: Takes each of the directed weights in turn.
        port: Likewise.
        images: Shape (128, 784), in the dtype of the implementations.
        labels: Shape (128,), int64.
        make_oracle: Given a dtype, returns the third computation.
    """
    oracle = make_oracle(reference.dtype)
    trio = (port, reference, oracle)
    batches = {f"batch of {size}": (images[:size], labels[:size]) for size in (128, 96, 1)}
    losses_of_cases = []
    batches |= {f"labels {label}": (images, np.full_like(labels, label)) for label in (0, 9)}
    for case, weights in directed_weights(reference.dtype, reference.sizes).items():
        for implementation in trio:
            implementation.load_weights(weights)
        for name, batch in batches.items():
            average_losses, found = zip(*(one.gradients(*batch) for one in trio), strict=True)
            step = f"{case}, {name}"
            losses_of_cases.append(average_losses)
            judge_tensors(judge, "gradients", "gradient", *found, step=step, scales=oracle.scales)
    # A single loss may come out exact by luck; the largest error of all cases does not.
    of_cases = [{"average": np.stack(losses)} for losses in zip(*losses_of_cases, strict=True)]
    judge_tensors(judge, "gradients", "loss", *of_cases, step="all cases", scales={"average": 1.0})


def one_update(
    judge: Judge, reference: Implementation, port: Implementation, rule: str = "update by hand"
) -> None:
    """Judge the weights after each of two updates, given the same weights and gradients.

    Args:
        judge: Compares the weights after each update.
        reference: Takes the weights of seed 0.
        port: Takes the reference's weights before each update.
        rule: The row of the tolerance table.
    """
    reference.load_weights(initial_weights(0, reference.sizes, reference.dtype))
    rng = np.random.default_rng(1)
    for step in ("first update", "second update"):
        before = reference.weights()
        port.load_weights(before)
        given = {name: rng.standard_normal(w.shape).astype(w.dtype) for name, w in before.items()}
        for implementation in (port, reference):
            implementation.update(given)
        of_port, of_reference = port.weights(), reference.weights()
        for name, w in before.items():
            arrays: dict[str, Any] = {"port": of_port[name], "reference": of_reference[name]}
            judge("one update", rule, name, step=step, scale=np.abs(w), **arrays)


def rungs(
    judge: Judge,
    make_reference: Callable[[], Implementation],
    make_port: Callable[[], Implementation],
    images: np.ndarray,
    labels: np.ndarray,
    make_oracle: MakeOracle = Oracle,
    rule: str = "update by hand",
) -> dict[str, Callable[[], None]]:
    """Return the rungs of the ladder, in their order, each ready to be judged.

    Args:
        judge: Compares.
        make_reference: Returns a reference whose weights may be changed.
        make_port: Returns a port, without memory of earlier calls.
        images: Shape (at least 300, 784), in the dtype of the implementations.
        labels: Shape (at least 300,), int64.
        make_oracle: Given a dtype, returns the third computation.
        rule: The row of the tolerance table for one update.
    """
    images, labels = images[:300], labels[:300]
    batch = images[:128], labels[:128]

    def pair() -> tuple[Implementation, Implementation]:
        return make_reference(), make_port()

    def trajectory() -> None:
        reference, port = pair()
        reference.load_weights(initial_weights(0, reference.sizes, reference.dtype))
        runs = reference, port, make_port()
        train(judge, "trajectory", *runs, images, labels, epochs=2, make_oracle=make_oracle)
        fit(judge, "trajectory", *pair(), images[:250], labels[:250], make_oracle)

    def first_example() -> None:
        samples = images[:250], labels[:250]
        fit(judge, "first example", *pair(), *samples, make_oracle, first_example=True)

    return {
        "data": lambda: data(judge, *pair()),
        "initial weights": lambda: first_weights(judge, *pair()),
        "layer outputs": lambda: layer_outputs(judge, *pair(), batch[0], make_oracle),
        "loss": lambda: losses(judge, *pair(), make_oracle),
        "gradients": lambda: gradients(judge, *pair(), *batch, make_oracle),
        "one update": lambda: one_update(judge, *pair(), rule),
        "trajectory": trajectory,
        "first example": first_example,
    }


def climb(
    judge: Judge,
    make_reference: Callable[[], Implementation],
    make_port: Callable[[], Implementation],
    images: np.ndarray,
    labels: np.ndarray,
) -> Divergence | None:
    """Climb the `rungs` until one fails, and return its divergence."""
    for name, rung in rungs(judge, make_reference, make_port, images, labels).items():
        try:
            rung()
        except Divergence as divergence:
            return divergence.with_traceback(None)  # which would keep all arrays
        except PORT_ERRORS as error:
            return Divergence(name, "behaviour", f"{type(error).__name__}: {error}")
    return None
