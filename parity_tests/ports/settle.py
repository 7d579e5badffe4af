"""How a file is to be used: found out by trying, in a fixed order, what gives the right numbers.

A file does not say which of its weights is which, in what form it takes images, or whether it
can compute in float64. The first way that gives the reference's numbers is taken. If none does,
the port is wrong, and the first way is taken that gives any.
"""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np

from parity_tests.ladder.directed_inputs import directed_weights
from parity_tests.ladder.oracle import Oracle
from parity_tests.ports.forms import FORMS
from parity_tests.ports.matching import matchings
from parity_tests.ports.messages import NotObservable, PortError, UnusablePort
from parity_tests.ports.user_port import Process, Usage, UserPort

NEAR = 1e-3
"""Relative difference up to which numbers count as the reference's, whatever the rounding."""


def settle(
    process: Process, dtype: str, folder: Path, images: np.ndarray, labels: np.ndarray
) -> tuple[Usage, list[str]]:
    """Return how a file is to be used, and what was chosen, in sentences.

    Args:
        process: Of the file.
        dtype: Tried first; after float64, float32 is tried.
        folder: Holds MNIST in MNIST/raw.
        images: Shape (128, 784), float64.
        labels: Shape (128,), int64.

    Raises:
        UnusablePort: If nothing that was tried can be judged.
    """
    notes = list(process.held["notes"])
    reason = ""
    for kind in (dtype, "float32") if dtype == "float64" else (dtype,):
        batch = images.astype(kind), labels
        try:
            model, usage = _settle_model(process, Usage(kind, None, folder=folder), batch[0])  # type: ignore[arg-type]
            usage = _settle_step(process, usage, *batch)
            if usage.strange and process.held["built"]:
                raise UnusablePort(
                    f"{process.path}: its optimizer holds the weights of a model that was not "
                    "found: keep the model in a variable of the file"
                )
        except PortError as error:
            if kind == "float64" and _is_about_dtypes(str(error)):
                reason = str(error).split(": ", 1)[-1]
                continue
            raise UnusablePort(str(error)) from error
        if kind == "float64" and _computes_in_float32(process, usage, *batch):
            reason = "it computes in float32 somewhere"
            continue
        if reason:
            notes.append(f"judged in float32, since in float64 {reason}")
        return usage, [*notes, *_said(process, model, usage)]
    raise UnusablePort(f"{process.path}: {reason}")


def _is_about_dtypes(message: str) -> bool:
    return any(word in message for word in ("dtype", "Double", "Float", "scalar type", "float"))


def _said(process: Process, model: str, usage: Usage) -> Iterator[str]:
    """Yield what was chosen and goes without saying nowhere."""
    network = "-".join(map(str, usage.matching.sizes))
    yield (
        f"judged: {model} ({network}), trained by {process.held['step']}, in {usage.dtype}, "
        f"with images {usage.step_form}"
    )
    if usage.output != "probabilities":
        yield f"the model returns {usage.output}: its softmax is missing, or belongs to the loss"
    if usage.returns_other:
        yield "the step returns another number than the loss that it differentiates"
    forms = usage.model_form or usage.step_form, usage.step_form
    if len({"255" in form or "bytes" in form for form in forms}) > 1:
        yield f"its model takes images {forms[0]}: right only if its step is given {forms[1]}"
    if not usage.makes_optimizer:
        yield "the file makes no optimizer: SGD with a learning rate of 0.001 is made here"
    if not usage.sees_gradients:
        yield "its gradients are not seen: they are taken from (before - after) / 0.001"


def _settle_model(process: Process, usage: Usage, images: np.ndarray) -> tuple[str, Usage]:
    """Return the model and the way to use it whose outputs are the reference's."""
    first: tuple[str, Usage] | None = None
    problem: PortError | None = None
    for model in process.held["models"]:
        try:
            described, _ = process.ask("configure", model=model, dtype=usage.dtype)
        except PortError as error:
            problem = problem or error
            continue
        try:
            ways = matchings(described["shapes"], described["linear"])
        except UnusablePort as error:
            problem = problem or UnusablePort(f"{process.path}: {error}")
            continue
        for matching in ways:
            kept = replace(usage, makes_optimizer=described["makes optimizer"])
            layers = described["layers"] if described["layers"] == len(matching.sizes) - 1 else 0
            tried = replace(kept, matching=matching, layers=layers)
            first = first or (model, tried)
            oracle = Oracle(usage.dtype)
            oracle.load_weights(directed_weights(usage.dtype, matching.sizes)["biases"])
            right = oracle.probabilities_of(images)
            for form in FORMS:
                found = _outputs(process, replace(tried, model_form=form), images, right.shape)
                if found is None:
                    continue
                if first[1].model_form is None:
                    first = model, found
                if _near(UserPort(process, found), images, right):
                    return model, found
    if first is None:
        assert problem is not None, "there is a model"
        raise problem
    process.ask("configure", model=first[0], dtype=usage.dtype)
    return first


def _outputs(
    process: Process, usage: Usage, images: np.ndarray, shape: tuple[int, ...]
) -> Usage | None:
    """Return a usage with what the model returns; None if it does not take such images."""
    port = UserPort(process, usage)
    port.load_weights(directed_weights(usage.dtype, usage.matching.sizes)["biases"])
    try:
        outputs = port.outputs(images)
    except PortError:
        return None
    if outputs.shape != shape or not np.issubdtype(outputs.dtype, np.floating):
        return None
    if ((outputs >= 0) & (outputs <= 1)).all():
        return usage
    if (outputs <= 0).all() and np.allclose(np.exp(outputs).sum(axis=1), 1, atol=1e-3):
        return replace(usage, output="log-probabilities")
    return replace(usage, output="logits")


def _near(port: UserPort, images: np.ndarray, right: np.ndarray) -> bool:
    port.load_weights(directed_weights(port.dtype, port.sizes)["biases"])
    return bool(np.abs(port.outputs(images) - right).max() < NEAR)


def _settle_step(process: Process, usage: Usage, images: np.ndarray, labels: np.ndarray) -> Usage:
    """Return a way to use the step: one that gives the reference's loss, if there is one."""
    oracle = Oracle(usage.dtype)
    oracle.load_weights(directed_weights(usage.dtype, usage.matching.sizes)["biases"])
    right, gradients = oracle.gradients(images, labels)
    first: Usage | None = None
    problem: PortError | None = None
    forms = sorted(FORMS, key=lambda form: form != usage.model_form)
    for form in forms:
        tried = replace(usage, step_form=form)
        port = UserPort(process, tried)
        port.load_weights(oracle.weights())
        try:
            said, found = port.take_step(images, labels)
        except PortError as error:
            problem = problem or error
            continue
        names = {w.name for w in tried.matching.weights.values()}
        seen = names <= found.keys()
        if not said["moved"] and not any(np.any(array) for array in found.values()):
            raise UnusablePort(
                f"{process.path}: {process.held['step']} neither takes gradients nor changes "
                "weights: name the training step with --step"
            )
        tried = replace(tried, sees_loss="" in found, sees_gradients=seen)
        tried = replace(tried, strange=said["strange"], returns_other=said["returns other"])
        first = first or tried
        if "" in found:
            near = abs(found[""] - right) < NEAR * abs(right)
        else:
            last = list(gradients)[-1]
            near = _is_like(port, oracle, gradients, last)
        if near:
            return tried
    if first is None:
        assert problem is not None, "some form was tried"
        raise problem
    return first


def _is_like(port: UserPort, oracle: Oracle, gradients: dict[str, np.ndarray], name: str) -> bool:
    """Return whether an update is that of the right gradients."""
    moved = (oracle.weights()[name] - port.weights()[name]) / 1e-3
    return bool(np.abs(moved - gradients[name]).max() < NEAR * np.abs(gradients[name]).max())


def _computes_in_float32(
    process: Process, usage: Usage, images: np.ndarray, labels: np.ndarray
) -> bool:
    """Return whether what a step gives in float64 are float32 numbers."""
    port = UserPort(process, usage)
    port.load_weights(directed_weights(usage.dtype, usage.matching.sizes)["biases"])
    try:
        _, found = port.take_step(images, labels)
    except NotObservable:
        return False
    return any(
        array.dtype == np.float32 or _is_float32(array)
        for array in found.values()
        if np.issubdtype(array.dtype, np.floating)
    )


def _is_float32(array: np.ndarray) -> bool:
    """Return whether numbers are of float32, and not simply round ones such as 0.5."""
    if not np.isfinite(array).all() or not np.array_equal(array.astype(np.float32), array):
        return False
    bits = np.frexp(array)[0] * 4096
    return bool((bits != np.rint(bits)).mean() > 0.5)
