"""The ladder: the reference, the port and the oracle side by side, rung by rung.

Each rung is judged given the same input, so that one mistake does not shake all above it.
In float32 the oracle is the truth and the reference the yardstick; in float64 the port and
the oracle both have to agree with the reference.
"""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import numpy as np

from parity_tests.harness.adapters import Implementation
from parity_tests.harness.compare import Divergence, Judge
from parity_tests.harness.oracle import SGD, Oracle, initial_weights
from parity_tests.harness.tolerance import MULTIPLE

MakeOracle = Callable[..., Oracle]

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
)

LADDER = tuple(rung for rung in RUNGS if rung != "ten epochs")
"""The rungs that `rungs` returns: all but the one that takes minutes."""


def directed_weights(dtype: str) -> dict[str, dict[str, np.ndarray]]:
    """Returns weights of the 784-512-10 model that reach branches which training seldom meets."""
    plain = initial_weights(0, dtype=dtype)
    kink = {**plain, "layers.0.W": plain["layers.0.W"].copy()}
    kink["layers.0.W"][:, :256] = 0  # pre-activations of exactly 0
    tie = {**plain, "layers.1.W": plain["layers.1.W"].copy()}
    tie["layers.1.W"][:, 7] = tie["layers.1.W"][:, 4]  # two equal probabilities
    rng = np.random.default_rng(2)
    biases = {
        name: w if name.endswith("W") else rng.normal(0, 20, w.shape).astype(dtype)
        for name, w in plain.items()
    }
    # Logits of a few units of both signs.
    biases["layers.1.W"] = ((plain["layers.1.W"] - 0.05) / 20).astype(dtype)
    biases["layers.1.b"] /= 20
    saturated = {**plain, "layers.1.W": plain["layers.1.W"].copy()}
    saturated["layers.1.W"][:, 3] *= 100  # logits near 1e4: one probability is 1, nine are 0
    return {
        "seed 0": plain,
        "seed 7": initial_weights(7, dtype=dtype),  # two samples of the first batch are clipped
        "kink": kink,
        "tie": tie,
        "biases": biases,  # some pre-activations and logits below 0
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
    port: Mapping[str, np.ndarray],
    reference: Mapping[str, np.ndarray],
    oracle: Mapping[str, np.ndarray],
    *,
    step: str,
    window: str = "",
    samples: int = 128,
    scales: Mapping[str, float] | None = None,
) -> None:
    """Judges what the port made of some input, given what the other two made of it.

    Args:
        judge: Compares tensor by tensor.
        rung: Where on the ladder this is.
        quantity: The row of the tolerance table.
        port: What is judged, by the names of the tensors.
        reference: The yardstick in float32, the truth in float64.
        oracle: The truth in float32, judged as well in float64.
        step: When this is, for the message.
        window: Comparisons in one window share the yardstick's largest error so far; by
            default those of one step.
        samples: How many samples these are sums or means over.
        scales: The size of the terms of each tensor's sums, where they may cancel.
    """
    for name in reference:
        scale = scales[name] if scales else 0.0
        of = partial(
            judge, rung, quantity, step=step, window=window or step, samples=samples, scale=scale
        )
        if reference[name].dtype == np.float32:
            of(name, port=port[name], oracle=oracle[name], reference=reference[name])
        else:
            of(name, port=port[name], reference=reference[name])
            of(f"{name} of the oracle", oracle=oracle[name], reference=reference[name])


def layer_outputs(
    judge: Judge,
    reference: Implementation,
    port: Implementation,
    images: np.ndarray,
    make_oracle: MakeOracle = Oracle,
) -> None:
    """Judges each layer, given the reference's output of the layer below, and the labels.

    Args:
        judge: Compares the outputs of batches of 128, 96 and 1.
        reference: Takes each of the directed weights in turn.
        port: Likewise.
        images: Shape (128, 784), in the dtype of the implementations.
        make_oracle: Given a dtype, returns the third computation.
    """
    oracle = make_oracle(reference.dtype)
    trio = (port, reference, oracle)
    for case, weights in directed_weights(reference.dtype).items():
        for implementation in trio:
            implementation.load_weights(weights)
        for size in (128, 96, 1):
            step = f"{case}, batch of {size}"
            inputs = images[:size]
            for index in range(len(weights) // 2):
                name = f"layers.{index}"
                outputs = [{name: one.layer_output(index, inputs)} for one in trio]
                three_ways(judge, "layer outputs", "layer output", *outputs, step=step)
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
    """Judges the loss of each sample and its gradient, given the same directed predictions."""
    predictions, labels = directed_predictions(reference.dtype)
    trio = (port, reference, make_oracle(reference.dtype))
    found = [{"at the clip": one.losses(labels, predictions)} for one in trio]
    step, scales = f"{len(labels)} directed predictions", {"at the clip": 1.0}
    three_ways(judge, "loss", "loss of each sample", *found, step=step, scales=scales)
    shares = np.full(len(labels), 1 / len(labels), reference.dtype)
    found = [{"predictions": one.losses_gradient(labels, predictions, shares)} for one in trio]
    three_ways(judge, "loss", "gradient", *found, step=step)


def gradients(
    judge: Judge,
    reference: Implementation,
    port: Implementation,
    images: np.ndarray,
    labels: np.ndarray,
    make_oracle: MakeOracle = Oracle,
) -> None:
    """Judges the gradient of each weight, given the same weights and batch.

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
    for case, weights in directed_weights(reference.dtype).items():
        for implementation in trio:
            implementation.load_weights(weights)
        for name, batch in batches.items():
            average_losses, found = zip(*(one.gradients(*batch) for one in trio), strict=True)
            step = f"{case}, {name}"
            losses_of_cases.append(average_losses)
            three_ways(judge, "gradients", "gradient", *found, step=step, scales=oracle.scales)
    # A single loss may come out exact by luck; the largest error of all cases does not.
    of_cases = [{"average": np.stack(losses)} for losses in zip(*losses_of_cases, strict=True)]
    three_ways(judge, "gradients", "loss", *of_cases, step="all cases", scales={"average": 1.0})


def one_update(
    judge: Judge, reference: Implementation, port: Implementation, rule: str = "update by hand"
) -> None:
    """Judges the weights after each of two updates, given the same weights and gradients.

    Args:
        judge: Compares the weights after each update.
        reference: Takes the weights of seed 0.
        port: Takes the reference's weights before each update.
        rule: The row of the tolerance table.
    """
    reference.load_weights(initial_weights(0, dtype=reference.dtype))
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
    """Judges every step of a training run, in two readings.

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

    rng = None if shuffle_seed is None else np.random.default_rng(shuffle_seed)
    compare = partial(three_ways, judge, rung, samples=min(batch_size, len(images)))
    for epoch in range(epochs):
        order = np.arange(len(images)) if rng is None else rng.permutation(len(images))
        given, free = [], []
        for batch, start in enumerate(range(0, len(images), batch_size)):
            drawn = order[start : start + batch_size]
            samples = images[drawn], labels[drawn]
            weights = reference.weights()
            for implementation in (port, oracle):
                implementation.load_weights(weights)
            steps = [one.step(*samples) for one in (port, reference, oracle)]
            given.append([loss for loss, _ in steps])
            free.append([free_port.step(*samples)[0], given[-1][1], free_oracle.step(*samples)[0]])
            compare(
                "gradient",
                *(gradients for _, gradients in steps),
                step=f"epoch {epoch}, batch {batch}",
                window=f"epoch {epoch}",
                scales=oracle.scales,
            )

        step = f"epoch {epoch}"
        for reading, of_epoch in (("given the same weights", given), ("free running", free)):
            found = [{reading: np.stack(losses)} for losses in zip(*of_epoch, strict=True)]
            # A loss is the logarithm of a sum near 1, whose rounding it keeps.
            compare("loss", *found, step=step, scales={reading: 1.0})
        compare(
            "weights",
            *(one.weights() for one in (free_port, reference, free_oracle)),
            step=step,
            scales={name: learning_rate * scale for name, scale in oracle.scales.items()},
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
    """Judges the predicted label of each image, and the accuracy, of trained models.

    Rounding decides on an image whose two most probable classes are as good as equal. So in
    float32 those are left out, a hundredth of all at most, whose probabilities are no further
    apart than ten times what the reference's own drift changes.
    """
    if reference.dtype == "float32":
        drifted = Oracle()
        drifted.load_weights(reference.weights())
        p, q = (one.probabilities_of(images) for one in (oracle, drifted))
        *_, second, first = np.sort(p, axis=1).T
        clear = first - second > MULTIPLE * np.abs(p - q).max()
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


def data(judge: Judge, reference: Implementation, port: Implementation) -> None:
    """Judges the images and the labels of MNIST, as each loads them."""
    of_port, of_reference = port.data(), reference.data()
    for name, array in of_reference.items():
        quantity = "labels" if name.endswith("labels") else "pixels"
        arrays: dict[str, Any] = {"port": of_port[name], "reference": array}
        judge("data", quantity, name, **arrays)


def first_weights(judge: Judge, reference: Implementation, port: Implementation) -> None:
    """Judges the weights that two seeds give."""
    for seed in (0, 7):
        of_port, of_reference = port.initial_weights(seed), reference.initial_weights(seed)
        for name, w in of_reference.items():
            arrays: dict[str, Any] = {"port": of_port[name], "reference": w}
            judge("initial weights", "initial weights", name, step=f"seed {seed}", **arrays)


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
) -> Oracle:
    """Judges a run of each implementation's own loop.

    Args:
        judge: Compares the losses of all batches, and the weights at the end.
        rung: "trajectory" or "ten epochs", or "first example" for that model and its loop.
        reference: Trained from the weights of seed 0.
        port: Likewise.
        images: Shape (samples, 784), in the dtype of the implementations.
        labels: Shape (samples,), int64.
        make_oracle: Given a dtype, returns the third computation.
        epochs: Passes over the data set.
        batch_size: The last batch of an epoch holds what is left over.

    Returns:
        The oracle, trained.
    """
    trio = (port, reference, make_oracle(reference.dtype))
    weights = initial_weights(0, dtype=reference.dtype)
    if rung == "first example":
        # Of both signs, and large enough for probabilities beyond the bounds of the clip.
        weights = {name: w - w.mean().round(2) for name, w in weights.items()}
        weights["layers.1.W"] *= 100
    losses = []
    for one in trio:
        one.load_weights(weights)
        loop = one.fit_first_example if rung == "first example" else one.fit
        losses.append({"of each batch": loop(images, labels, epochs, batch_size)})
    step = "the end of fit"
    three_ways(judge, rung, "loss", *losses, step=step, scales={"of each batch": 1.0})
    scales = {name: 1e-3 * scale for name, scale in trio[2].scales.items()}
    found = [one.weights() for one in trio]
    three_ways(judge, rung, "weights", *found, step=step, scales=scales)
    return trio[2]


def whole_training(
    judge: Judge,
    reference: Implementation,
    port: Implementation,
    mnist: Mapping[str, np.ndarray],
    epochs: int,
) -> None:
    """Judges a training on MNIST by each implementation's own loop, and what it predicts.

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


def rungs(
    judge: Judge,
    make_reference: Callable[[], Implementation],
    make_port: Callable[[], Implementation],
    images: np.ndarray,
    labels: np.ndarray,
    make_oracle: MakeOracle = Oracle,
    rule: str = "update by hand",
) -> dict[str, Callable[[], None]]:
    """Returns the rungs of the ladder, in their order, each ready to be judged.

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
        reference.load_weights(initial_weights(0, dtype=reference.dtype))
        train(
            judge,
            "trajectory",
            reference,
            port,
            make_port(),
            images,
            labels,
            epochs=2,
            make_oracle=make_oracle,
        )
        reference, port = pair()
        fit(judge, "trajectory", reference, port, images[:250], labels[:250], make_oracle)

    def first_example() -> None:
        fit(judge, "first example", *pair(), images[:250], labels[:250], make_oracle)

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


def climb(*arguments: Any) -> Divergence | None:
    """Climbs the `rungs` until one fails, and returns its divergence."""
    for name, rung in rungs(*arguments).items():
        try:
            rung()
        except Divergence as divergence:
            return divergence.with_traceback(None)  # which would keep all arrays
        except PORT_ERRORS as error:
            return Divergence(name, "behaviour", f"{type(error).__name__}: {error}")
    return None
