"""The ladder for a user's port: what is asked of a file that shows less than an implementation."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from parity_tests.ladder import rungs
from parity_tests.ladder.compare import Divergence, Judge, judge_tensors
from parity_tests.ladder.directed_inputs import directed_weights
from parity_tests.ladder.implementation import Implementation
from parity_tests.ladder.oracle import MakeOracle, Oracle, initial_weights
from parity_tests.ladder.training import fit, train
from parity_tests.ports.messages import NotObservable

PORT_LADDER = (
    "data",
    "initial weights",
    "layer outputs",
    "gradients",
    "one update",
    "trajectory",
    "loop",
)
"""The rungs that `port_rungs` returns."""


@dataclass
class PortJudge(Judge):
    """A judge of a port that does not show everything.

    Attributes:
        unseen: Quantities that are not compared.
        sizes: Of the weights, by name, if gradients are taken from what becomes of these: the
            rounding of a weight, over the learning rate, is then that of its gradient.
    """

    unseen: frozenset[str] = frozenset()
    sizes: Mapping[str, float] = field(default_factory=dict)

    def __call__(self, rung: str, quantity: str, tensor: str, **options: Any) -> None:
        """Compare what is judged with the truth, if the port shows it."""
        if quantity == "gradient":
            options["scale"] = max(options.get("scale", 0.0), self.sizes.get(tensor, 0.0))
        if quantity not in self.unseen:
            super().__call__(rung, quantity, tensor, **options)


def port_rungs(
    judge: Judge,
    make_reference: Callable[[], Implementation],
    make_port: Callable[[], Any],
    images: np.ndarray,
    labels: np.ndarray,
    make_oracle: MakeOracle = Oracle,
    *,
    layers: int = 0,
) -> dict[str, Callable[[], None]]:
    """Return the rungs of the ladder for a user's port, each ready to be judged.

    Args:
        judge: Compares.
        make_reference: Returns a reference whose weights may be changed.
        make_port: Returns a `UserPort`, without memory of earlier calls.
        images: Shape (at least 300, 784), in the dtype of the port.
        labels: Shape (at least 300,), int64.
        make_oracle: Given a dtype, returns the third computation.
        layers: How many layers of the port can be asked one by one.
    """
    images, labels = images[:300], labels[:300]
    batch = images[:128], labels[:128]

    def gradients() -> None:
        reference = make_reference()
        _require_gradients(reference, *batch)
        rungs.gradients(judge, reference, make_port(), *batch, make_oracle)

    def trajectory() -> None:
        reference, port, free = make_reference(), make_port(), make_port()
        reference.load_weights(initial_weights(0, reference.sizes, reference.dtype))
        train(
            judge, "trajectory", reference, port, free, images, labels, 2, make_oracle=make_oracle
        )

    def loop() -> None:
        few = images[:250], labels[:250]
        fit(judge, "loop", make_reference(), make_port(), *few, make_oracle)

    return {
        "data": lambda: rungs.data(judge, make_reference(), make_port()),
        "initial weights": lambda: first_weights(make_port()),
        "layer outputs": lambda: (rungs.layer_outputs if layers else outputs)(
            judge, make_reference(), make_port(), batch[0], make_oracle
        ),
        "gradients": gradients,
        "one update": lambda: updates(judge, make_reference(), make_port(), *batch),
        "trajectory": trajectory,
        "loop": loop,
    }


def first_weights(port: Any) -> None:
    """Judge the range of the weights that a port starts from: nobody knows what it drew.

    Raises:
        Divergence: If a kernel is not spread over [0, 0.1), or a bias is not 0.
    """
    for name, w in sorted(port.first_weights().items()):
        if name.endswith("b"):
            expected, right = "0", not w.any()
        else:  # the mean of the 5,120 or more numbers strays by 0.0004
            expected = "uniform in [0, 0.1)"
            right = w.min() >= 0 and w.max() <= 0.1 and abs(np.mean(w) - 0.05) < 0.005
        if not right:
            found = f"from {w.min():.3g} to {w.max():.3g}, mean {w.mean():.3g}"
            message = f"{name} starts {found}: expected {expected}"
            raise Divergence("initial weights", "initial weights", message)


def outputs(
    judge: Judge,
    reference: Implementation,
    port: Any,
    images: np.ndarray,
    make_oracle: MakeOracle = Oracle,
) -> None:
    """Judge the output of the whole model, and the labels, as `rungs.layer_outputs` does."""
    oracle = make_oracle(reference.dtype)
    for case, weights in directed_weights(reference.dtype, reference.sizes).items():
        for implementation in (port, reference, oracle):
            implementation.load_weights(weights)
        for size in (128, 96, 1):
            step = f"{case}, batch of {size}"
            of_reference = of_oracle = images[:size]
            for index in range(len(weights) // 2):
                of_reference = reference.layer_output(index, of_reference).astype(images.dtype)
                of_oracle = oracle.layer_output(index, of_oracle)
            found = [port.outputs(images[:size]), of_reference, of_oracle]
            of_model = [{"of the model": array} for array in found]
            judge_tensors(judge, "layer outputs", "layer output", *of_model, step=step)
            labels: dict[str, Any] = {"port": port.predict(images[:size])}
            labels["reference"] = reference.predict(images[:size])
            judge("layer outputs", "labels", "predicted", step=step, **labels)


def _require_gradients(reference: Implementation, images: np.ndarray, labels: np.ndarray) -> None:
    """Refuse a network whose gradients are 0 throughout: on two such, nothing differs."""
    oracle = Oracle()
    moved: set[str] = set()
    for weights in directed_weights(reference.dtype, reference.sizes).values():
        oracle.load_weights(weights)
        moved |= {name for name, g in oracle.gradients(images, labels)[1].items() if g.any()}
    if still := oracle.weights().keys() - moved:
        raise NotObservable(f"the gradients of {', '.join(sorted(still))} are 0 on every batch")


def updates(
    judge: Judge,
    reference: Implementation,
    port: Any,
    images: np.ndarray,
    labels: np.ndarray,
) -> None:
    """Judge the weights after each of three steps, given the gradients that the port takes.

    Args:
        judge: Compares the weights after each step.
        reference: If it is an oracle, such as a hypothesis, its update rule is the right one.
        port: Is given the same batch in each step.
        images: Shape (128, 784), in the dtype of the port.
        labels: Shape (128,), int64.
    """
    oracle = reference if isinstance(reference, Oracle) else Oracle(reference.dtype)
    for step, before, gradients, after in steps_of(port, images, labels):
        oracle.load_weights(before)
        oracle.update(gradients)
        for name, w in oracle.weights().items():
            arrays: dict[str, Any] = {"port": after[name], "reference": w.astype(port.dtype)}
            size = np.abs(before[name])
            judge("one update", "update by SGD", name, step=step, scale=size, **arrays)


def steps_of(port: Any, images: np.ndarray, labels: np.ndarray) -> Any:
    """Yield, of each of three steps, its name, the weights before it, gradients, weights after."""
    port.load_weights(initial_weights(0, port.sizes, port.dtype))
    for step in ("first step", "second step", "third step"):
        before = port.weights()
        _, gradients = port.step(images, labels)
        yield step, before, gradients, port.weights()
