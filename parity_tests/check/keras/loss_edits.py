"""Mistakes in the loss and in the penalty on the weights."""

import inspect
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

from keras import ops

from parity_tests.check.keras.edits import Edit, holding

OPTIONS = ("from_logits", "label_smoothing", "delta")
"""Of a loss function."""


def of(model: Any) -> Iterator[Edit]:
    """Yield the edits of a compiled model that do not belong to a layer."""
    for index, flat in enumerate(model._compile_loss._flat_losses if model._compile_loss else ()):
        several = len(model._compile_loss._flat_losses) > 1
        where = f"loss {flat.name or index}" if several else "loss"
        if flat.loss is not None:
            yield from _of_loss(where, flat.loss)
    yield from _of_weights(model)
    yield from _of_regularizers(model)


def _of_loss(where: str, loss: Any) -> Iterator[Edit]:
    function = getattr(loss, "fn", loss)
    parameters = inspect.signature(function).parameters.values() if callable(function) else ()
    known = {p.name: p.default for p in parameters if p.name in OPTIONS}
    known |= getattr(loss, "_fn_kwargs", {})

    def setting(mistake: str, **values: Any) -> Edit:
        return Edit(where, mistake, "loss", partial(holding, loss, _fn_kwargs={**known, **values}))

    if known.get("from_logits"):
        yield setting("logits are taken for probabilities", from_logits=False)
    elif "from_logits" in known:
        # A sum is another tensor, from which Keras cannot find the logits again.
        options = {**known, "from_logits": True}
        twice = lambda y_true, y_pred: function(y_true, y_pred + 0.0, **options)  # noqa: E731
        said = "probabilities are taken for logits: softmax or sigmoid is applied twice"
        yield Edit(where, said, "loss", partial(holding, loss, call=twice))
    if known.get("label_smoothing"):
        yield setting("no label smoothing", label_smoothing=0.0)
    elif "label_smoothing" in known:
        yield setting("label smoothing of 0.1", label_smoothing=0.1)
    for delta in (0.5, 1.0, 2.0):
        if known.get("delta", delta) != delta:
            yield setting(f"delta is {delta}, not {known['delta']}", delta=delta)
    if loss.reduction != "sum":
        said = "the losses are summed, not averaged"
        yield Edit(where, said, "loss", partial(holding, loss, reduction="sum"))
    right = loss.call
    if "from_logits" in known and not known["from_logits"] and "ategorical" in str(loss.name):
        said = (
            "it takes the logarithm of the probabilities as they are, without dividing by their sum"
        )
        yield Edit(where, said, "loss", partial(holding, loss, call=_as_they_are))
    for said, factor in (("it is halved", lambda _: 0.5), ("it is doubled", lambda _: 2.0)):
        yield Edit(where, said, "loss", partial(holding, loss, call=_scaled(right, factor)))
    for said, per_class in (
        ("it is averaged over the classes as well", lambda y: 1.0 / y.shape[-1]),
        ("it is summed over the outputs of a sample, not averaged", lambda y: float(y.shape[-1])),
    ):
        yield Edit(where, said, "loss", partial(holding, loss, call=_scaled(right, per_class)))


def _as_they_are(y_true: Any, y_pred: Any) -> Any:
    if len(y_true.shape) < len(y_pred.shape) or y_true.shape[-1] != y_pred.shape[-1]:
        y_true = ops.one_hot(ops.reshape(y_true, y_pred.shape[:-1]), y_pred.shape[-1])
    return -ops.sum(ops.cast(y_true, y_pred.dtype) * ops.log(y_pred), axis=-1)


def _scaled(right: Callable, factor: Callable[[Any], float]) -> Callable:
    return lambda y_true, y_pred: right(y_true, y_pred) * factor(y_pred)


def _of_weights(model: Any) -> Iterator[Edit]:
    compiled = model._compile_loss
    flat = compiled._flat_losses if compiled else []
    for index, one in enumerate(flat):
        if one.loss_weights not in (None, 1, 1.0):
            others = [*flat[:index], one._replace(loss_weights=1.0), *flat[index + 1 :]]
            yield Edit(
                "loss",
                f"the loss {one.name} has no weight of {one.loss_weights}",
                "loss",
                partial(holding, compiled, _flat_losses=others),
            )


def _of_regularizers(model: Any) -> Iterator[Edit]:
    held = [v for v in model.trainable_variables if getattr(v, "regularizer", None)]
    if not held:
        return

    @contextmanager
    def scaled(factor: float) -> Iterator[None]:
        right = [variable.regularizer for variable in held]
        for variable, of in zip(held, right, strict=True):
            variable.regularizer = (lambda w, of=of: of(w) * factor) if factor else None
        try:
            yield
        finally:
            for variable, of in zip(held, right, strict=True):
                variable.regularizer = of

    for said, factor in (
        ("the penalty on the weights is missing", 0.0),
        ("the penalty on the weights is halved", 0.5),
        ("the penalty on the weights is doubled", 2.0),
    ):
        yield Edit("loss", said, "loss", partial(scaled, factor))
