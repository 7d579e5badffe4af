"""The ladder for what was seen of a training of the book's network.

Each rung compares what was seen with what an oracle makes of the same: the right one, which
judges, or one that makes mistakes, which explains. The right one has a yardstick beside it where
numbers are float32.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from parity_tests.check.book.seen import RATE, Arrays, SeenStep
from parity_tests.ladder.compare import Judge
from parity_tests.ladder.oracle import MakeOracle, Oracle, softmax


@dataclass
class Seen:
    """What was seen of a program.

    Attributes:
        runs: By what is special about the weights that each began with: steps, one by one.
        loop: The steps of its own loop, given 250 samples for two epochs; None if it has none.
        samples: The images and labels that the loop was given.
        batch_size: That its loop should have.
        data: What its `load_mnist` returned, by name; None if it has none.
        yardstick: Computes in float32 as PyTorch does; None where numbers are float64.
    """

    runs: dict[str, list[SeenStep]] = field(default_factory=dict)
    loop: list[SeenStep] | None = None
    samples: tuple[np.ndarray, np.ndarray] | None = None
    batch_size: int = 100
    data: dict[str, np.ndarray] | None = None
    yardstick: Any = None

    def has(self, rung: str) -> bool:
        """Return whether what a rung compares was seen."""
        return {"data": self.data, "loop": self.loop}.get(rung, self.runs) is not None

    def steps(self) -> Iterator[tuple[str, list[SeenStep]]]:
        """Yield each run with steps in it."""
        return ((name, run) for name, run in self.runs.items() if run)


Rung = Callable[[Judge, Seen, MakeOracle], None]


def _judge(
    judge: Judge, rung: str, quantity: str, tensor: str, port: Any, truth: Any, **options: Any
) -> None:
    """Compare an array with the truth, and in float32 with the yardstick's own error."""
    yardstick = options.pop("yardstick", None)
    if yardstick is None:
        arrays = {"port": port, "reference": np.asarray(truth).astype(port.dtype)}
    else:
        arrays = {"port": port, "oracle": np.asarray(truth), "reference": np.asarray(yardstick)}
    judge(rung, quantity, tensor, **options, **arrays)


def _when(case: str, number: int, step: SeenStep, run: Sequence[SeenStep]) -> str:
    size = f"batch of {len(step.labels)}"
    return f"{case}, {size}" if len(run) == 1 else f"{case}, step {number + 1}, {size}"


def layer_outputs(judge: Judge, seen: Seen, make_oracle: MakeOracle) -> None:
    """Judge the output of each layer, given what the program itself gave to the layer."""
    for case, run in seen.steps():
        for number, step in enumerate(run):
            oracle = make_oracle(step.dtype)
            oracle.load_weights(step.before)
            when = _when(case, number, step, run)
            for index, (name, inputs, found) in enumerate(_outputs(step)):
                truth = oracle.layer_output(index, inputs)
                own = None
                if seen.yardstick is not None:
                    seen.yardstick.load_weights(step.before)
                    own = seen.yardstick.layer_output(index, inputs)
                _judge(
                    judge,
                    "layer outputs",
                    "layer output",
                    name,
                    found,
                    truth,
                    step=when,
                    window=when,
                    yardstick=own,
                )


def _outputs(step: SeenStep) -> Iterator[tuple[str, np.ndarray, np.ndarray]]:
    """Yield, of each layer, its name, what it was given, and what came of it."""
    for index, layer in enumerate(step.layers):
        last = index == len(step.layers) - 1
        if not last:
            found = step.layers[index + 1].inputs
        elif step.probabilities is not None:
            found = step.probabilities
        else:
            found = softmax(layer.outputs if step.logits is None else step.logits)
        yield f"layers.{index}", layer.inputs.astype(step.dtype), found


def gradients(judge: Judge, seen: Seen, make_oracle: MakeOracle) -> None:
    """Judge the loss and the gradients of each step, given the weights that it began with."""
    for case, run in seen.steps():
        oracle = make_oracle(run[0].dtype)
        for number, step in enumerate(run):
            when = _when(case, number, step, run)
            oracle.load_weights(step.before)
            loss, found = oracle.gradients(step.images, step.labels)
            own: tuple[Any, Arrays] = (None, {})
            if seen.yardstick is not None:
                seen.yardstick.load_weights(step.before)
                own = seen.yardstick.gradients(step.images, step.labels)
            options = {"step": when, "window": case, "samples": len(step.labels)}
            for name, right in found.items():
                scale = oracle.scales[name]
                if step.by_hand:  # the rounding of a weight, over the rate, is its gradient's
                    scale = max(scale, float(np.abs(step.before[name]).max()))
                _judge(
                    judge,
                    "gradients",
                    "gradient",
                    name,
                    step.gradients[name],
                    right,
                    scale=scale,
                    yardstick=own[1].get(name),
                    **options,
                )
            if np.isfinite(step.loss) or not step.by_hand:
                _judge(
                    judge,
                    "gradients",
                    "loss",
                    "average",
                    step.loss,
                    loss,
                    scale=1.0,
                    yardstick=own[0],
                    **options,
                )


def one_update(judge: Judge, seen: Seen, make_oracle: MakeOracle) -> None:
    """Judge the weights after each step, given those before it and the gradients."""
    for case, run in seen.steps():
        oracle = make_oracle(run[0].dtype)
        for number, step in enumerate(run):
            if not all(np.isfinite(g).all() for g in step.gradients.values()):
                break  # which "gradients" judges
            oracle.load_weights(step.before)
            oracle.update({name: g.astype(np.float64) for name, g in step.gradients.items()})
            for name, w in oracle.weights().items():
                # The rate, its product with a gradient and the difference are rounded, each once.
                size = np.maximum(
                    np.abs(step.before[name]), 4 * RATE * np.abs(step.gradients[name])
                )
                judge(
                    "one update",
                    "update by SGD",
                    name,
                    step=_when(case, number, step, run),
                    scale=size,
                    port=step.after[name],
                    reference=w.astype(step.dtype),
                )


def trajectory(judge: Judge, seen: Seen, make_oracle: MakeOracle) -> None:
    """Judge the losses and the last weights of each longer run, each on its own from the start."""
    for case, run in seen.steps():
        if len(run) > 1:
            oracle = make_oracle(run[0].dtype)
            oracle.load_weights(run[0].before)
            truth = np.stack([oracle.step(step.images, step.labels)[0] for step in run])
            _judge_run(judge, "trajectory", case, run, seen.yardstick, oracle, truth)


def loop(judge: Judge, seen: Seen, make_oracle: MakeOracle) -> None:
    """Judge the losses of all batches of its own loop, and the weights at the end."""
    assert seen.loop is not None, "it has one"
    assert seen.samples is not None, "it was given some"
    oracle = make_oracle(seen.loop[0].dtype)
    oracle.load_weights(seen.loop[0].before)
    truth = oracle.fit(*seen.samples, 2, seen.batch_size)
    _judge_run(judge, "loop", "the end of the loop", seen.loop, seen.yardstick, oracle, truth)


def _judge_run(
    judge: Judge,
    rung: str,
    case: str,
    run: Sequence[SeenStep],
    yardstick: Any,
    oracle: Oracle,
    truth: np.ndarray,
) -> None:
    own, weights = None, {}
    if yardstick is not None:
        yardstick.load_weights(run[0].before)
        own = np.stack([yardstick.step(step.images, step.labels)[0] for step in run])
        weights = yardstick.weights()
    losses = np.stack([step.loss for step in run])
    if np.isfinite(losses).any():
        _judge(
            judge, rung, "loss", "of each batch", losses, truth, step=case, scale=1.0, yardstick=own
        )
    for name, w in oracle.weights().items():
        _judge(
            judge,
            rung,
            "weights",
            name,
            run[-1].after[name],
            w,
            step=case,
            scale=RATE * oracle.scales[name],
            yardstick=weights.get(name),
        )


def data(judge: Judge, seen: Seen, make_oracle: MakeOracle) -> None:
    """Judge the images and the labels that its `load_mnist` returns."""
    assert seen.data is not None, "it has one"
    for name, truth in make_oracle("float64").data().items():
        quantity = "labels" if name.endswith("labels") else "pixels"
        found = seen.data[name]
        if quantity == "labels" and np.issubdtype(found.dtype, np.integer):
            found = found.astype(truth.dtype)  # of whichever integers, since a step may convert
        judge("data", quantity, name, port=found, reference=truth.astype(found.dtype))


RUNGS: dict[str, Rung] = {
    "data": data,
    "layer outputs": layer_outputs,
    "gradients": gradients,
    "one update": one_update,
    "trajectory": trajectory,
    "loop": loop,
}
"""The rungs that compare arrays, in their order."""
