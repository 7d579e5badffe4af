"""Mistakes in a layer: its constants, its activation, its padding, its order of axes."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from itertools import pairwise
from typing import Any

import keras
from keras import activations, ops

from parity_tests.check.keras import units
from parity_tests.check.keras.edits import Edit, calling, holding, setting
from parity_tests.check.keras.sequence_edits import attention, bidirectional, embedding, recurrent
from parity_tests.check.keras.weight_edits import biased, scaled

EPSILONS = (1e-3, 1e-5, 1.001e-5, 1e-6, 1e-8, 1e-12)
"""Defaults of Keras, of PyTorch, and of published models."""


def of(model: Any) -> Iterator[Edit]:
    """Yield the edits of each layer."""
    layers = {id(part): part for part in units.walk(model)}
    for layer in list(layers.values()):
        if isinstance(layer, L.MultiHeadAttention) and not layer._dropout:
            layers.pop(id(layer._softmax), None)  # attention is computed in one go
    for layer in layers.values():
        for kinds, edits in OF_KIND:
            if isinstance(layer, kinds):
                yield from edits(layer)
    yield from strides(model)


def normalization(layer: Any) -> Iterator[Edit]:
    """Yield other epsilons."""
    for epsilon in EPSILONS:
        if epsilon != layer.epsilon:
            yield setting(layer, "layers", epsilon=epsilon)


def batch_normalization(layer: Any) -> Iterator[Edit]:
    """Yield other momenta, the unbiased variance, and the wrong mode."""
    right, moments = layer.call, layer._moments
    momenta = {round(1 - layer.momentum, 9), 0.9, 0.99, 0.997, 0.999, 0.1} - {layer.momentum}
    for momentum in sorted(momenta):
        yield setting(layer, "statistics", momentum=momentum)

    def unbiased(inputs: Any, training: Any = None, mask: Any = None) -> Any:
        before = layer.moving_variance * layer.momentum
        outputs = right(inputs, training=training, mask=mask)
        if training and layer.trainable:
            count = ops.size(inputs) / ops.size(moments(inputs, mask)[1])
            share = layer.moving_variance - before
            factor = ops.cast(count, share.dtype) / (ops.cast(count, share.dtype) - 1)
            layer.moving_variance.assign(before + share * factor)
        return outputs

    said = "the running variance is unbiased (over n - 1), as in torch.nn, not over n"
    yield calling(layer, "statistics", said, unbiased, of_framework=True)
    still = lambda x, training=None, mask=None: right(x, training=False, mask=mask)  # noqa: E731
    yield calling(layer, "outputs", "it uses its running statistics in training", still)
    moving = lambda x, training=None, mask=None: _batch_statistics(layer, x)  # noqa: E731
    yield calling(layer, "outputs", "it uses the statistics of the batch in inference", moving)


def _batch_statistics(layer: Any, inputs: Any) -> Any:
    mean, variance = layer._moments(inputs, None)
    return ops.batch_normalization(
        inputs, mean, variance, layer.axis, layer.beta, layer.gamma, layer.epsilon
    )


def _same(name: str) -> Callable[[Any], Any]:
    return activations.get(name)


FUNCTIONS: dict[str, Callable[[Any], Any]] = {
    "missing": lambda x: x,
    "relu": ops.relu,
    "relu6": ops.relu6,
    "leaky relu of slope 0.01": partial(ops.leaky_relu, negative_slope=0.01),
    "leaky relu of slope 0.2": partial(ops.leaky_relu, negative_slope=0.2),
    "leaky relu of slope 0.3": partial(ops.leaky_relu, negative_slope=0.3),
    "elu": ops.elu,
    "selu": ops.selu,
    "silu": ops.silu,
    "gelu": partial(ops.gelu, approximate=False),
    "gelu by tanh": partial(ops.gelu, approximate=True),
    "tanh": ops.tanh,
    "sigmoid": ops.sigmoid,
    "hard sigmoid": ops.hard_sigmoid,
    "softplus": ops.softplus,
    "softmax": ops.softmax,
    "softmax over the batch": partial(ops.softmax, axis=0),
    "softmax over axis 1": partial(ops.softmax, axis=1),
    "log of softmax": ops.log_softmax,
}
"""What may stand in the place of an activation."""


def activation(layer: Any) -> Iterator[Edit]:
    """Yield other functions in the place of an activation, none, and the same one twice."""
    right = layer.activation
    probe = ops.convert_to_tensor([[-3.0, -0.5, 0.25, 2.0], [0.5, -1.0, 4.0, 7.0]])
    expected = ops.convert_to_numpy(right(probe))

    def differs(function: Callable[[Any], Any]) -> bool:
        return bool(abs(ops.convert_to_numpy(function(probe)) - expected).max() > 1e-9)

    for name, function in FUNCTIONS.items():
        if differs(function):
            mistake = f"its activation is {name}" if name != "missing" else "no activation"
            yield setting(layer, "between", mistake, activation=function)
    twice = lambda x: right(right(x))  # noqa: E731
    if differs(twice):
        yield setting(layer, "between", "its activation is applied twice", activation=twice)


def function_layer(layer: Any) -> Iterator[Edit]:
    """Yield other functions in the place of a layer that is an activation."""
    rank = 4
    probe = ops.reshape(ops.arange(-16, 16, dtype="float32") / 4, (2, 2, 2, 4)[:rank])
    expected = ops.convert_to_numpy(layer.call(probe))
    for name, function in FUNCTIONS.items():
        if abs(ops.convert_to_numpy(function(probe)) - expected).max() > 1e-6:
            mistake = f"it is {name}" if name != "missing" else "it is missing"
            yield calling(layer, "between", mistake, lambda x, _f=function, **_: _f(x))


def flatten(layer: Any) -> Iterator[Edit]:
    """Yield the order that comes of flattening channels first."""
    right = layer.call

    def channels_first(inputs: Any) -> Any:
        rank = len(inputs.shape)
        return right(ops.transpose(inputs, (0, rank - 1, *range(1, rank - 1))))

    said = "it flattens channels first, as (n, c, h, w), not (n, h, w, c)"
    yield calling(layer, "between", said, channels_first)


def convolution(layer: Any) -> Iterator[Edit]:
    """Yield the padding of the same width on all sides."""
    if layer.padding == "same" and max(layer.strides) > 1 and hasattr(layer, "convolution_op"):
        said = "its padding is the same on both sides, as torch.nn's, not Keras's same"
        plant = partial(holding, layer, convolution_op=_symmetric(layer))
        yield Edit(layer.name, said, "layers", plant)


def _symmetric(layer: Any) -> Callable[[Any, Any], Any]:
    """Return what a convolution computes that pads by the same width on all sides."""
    right = layer.convolution_op

    def symmetric(inputs: Any, kernel: Any) -> Any:
        width = [
            (d * (k - 1) // 2,) * 2
            for k, d in zip(layer.kernel_size, layer.dilation_rate, strict=True)
        ]
        padded = ops.pad(inputs, [(0, 0), *width, (0, 0)])
        with holding(layer, padding="valid"):
            return right(padded, kernel)

    return symmetric


def strides(model: Any) -> Iterator[Edit]:
    """Yield strides that are in the next convolution, as in version 1.5 of ResNet."""
    layers = {id(part): part for part in units.walk(model)}.values()
    convolutions = [layer for layer in layers if isinstance(layer, keras.layers.Conv2D)]
    for layer, following in pairwise(convolutions):
        if max(layer.strides) > 1 == max(following.strides) and max(following.kernel_size) > 1:
            moved = partial(_moved, layer, following)
            said = "its stride is in the next convolution, which pads the same on both sides"
            yield Edit(layer.name, said, "layers", moved)


@contextmanager
def _moved(layer: Any, following: Any) -> Iterator[None]:
    with (
        holding(following, strides=layer.strides, convolution_op=_symmetric(following)),
        holding(layer, strides=(1, 1)),
    ):
        yield


def depthwise(layer: Any) -> Iterator[Edit]:
    """Yield the padding of the same width on all sides."""
    right = layer.call
    if layer.padding != "same" or max(layer.strides) == 1:
        return

    def symmetric(inputs: Any) -> Any:
        width = [((k - 1) // 2,) * 2 for k in layer.kernel_size]
        with holding(layer, padding="valid"):
            return right(ops.pad(inputs, [(0, 0), *width, (0, 0)]))

    said = "its padding is the same on both sides, as torch.nn's, not Keras's same"
    yield calling(layer, "layers", said, symmetric)


def transposed(layer: Any) -> Iterator[Edit]:
    """Yield the crop on the other side of a transposed convolution."""
    right = layer.call
    if layer.padding != "same" or max(layer.strides) == 1:
        return

    def other_side(inputs: Any) -> Any:
        with holding(layer, padding="valid"):
            whole = right(inputs)
        sizes = [n * s for n, s in zip(inputs.shape[1:-1], layer.strides, strict=True)]
        starts = [w - n for w, n in zip(whole.shape[1:-1], sizes, strict=True)]
        cut = tuple(slice(a, a + n) for a, n in zip(starts, sizes, strict=True))
        return whole[(slice(None), *cut)]

    said = "it is cropped at the top and the left, as with output_padding, not at the other side"
    yield calling(layer, "layers", said, other_side)


def pooling(layer: Any) -> Iterator[Edit]:
    """Yield the other kind of pooling, and padding that is the same on all sides or counted."""
    right = layer.call
    kind = "average" if "Average" in type(layer).__name__ else "max"
    other = ops.max_pool if kind == "average" else ops.average_pool
    size, strides, padding = layer.pool_size, layer.strides, layer.padding
    said = f"it takes the {'maximum' if kind == 'average' else 'average'}"
    swapped = lambda x: other(x, size, strides, padding)  # noqa: E731
    yield calling(layer, "between", said, swapped)
    if padding != "same":
        return
    width = [((k - 1) // 2, (k - 1) // 2) for k in size]
    if kind == "average":

        def counted(x: Any) -> Any:
            return right(x) * _share(x, size, strides)

        yield calling(layer, "between", "it counts the padding", counted)
    else:

        def symmetric(x: Any) -> Any:
            low = ops.pad(x, [(0, 0), *width, (0, 0)], constant_values=-1e30)
            return ops.max_pool(low, size, strides, "valid")

        yield calling(layer, "between", "its padding is the same on both sides", symmetric)


def _share(x: Any, size: Any, strides: Any) -> Any:
    """Return which share of each window lies in the image."""
    ones = ops.ones_like(x)
    width = [((k - 1) // 2, k // 2) for k in size]
    padded = ops.pad(ones, [(0, 0), *width, (0, 0)])
    return ops.average_pool(padded, size, strides, "valid")


def global_pooling(layer: Any) -> Iterator[Edit]:
    """Yield the other kind of pooling."""
    average = "Average" in type(layer).__name__
    other = ops.max if average else ops.mean
    said = f"it takes the {'maximum' if average else 'average'}"

    def swapped(x: Any, **_: Any) -> Any:
        return other(x, axis=tuple(range(1, len(x.shape) - 1)), keepdims=layer.keepdims)

    yield calling(layer, "between", said, swapped)


def padding(layer: Any) -> Iterator[Edit]:
    """Yield the padding of the same width on all sides, that on the other side, and none."""
    right = layer.padding
    width = max(max(side) for side in right)
    other = tuple((after, before) for before, after in right)
    for said, sides in (
        ("its padding is the same on both sides", ((width, width),) * 2),
        ("its padding is on the other side", other),
    ):
        if sides != right:
            yield setting(layer, "between", said, padding=sides)


def upsampling(layer: Any) -> Iterator[Edit]:
    """Yield the other interpolation."""
    for other in {"nearest", "bilinear"} - {layer.interpolation}:
        yield setting(layer, "between", interpolation=other)


def preprocessing(layer: Any) -> Iterator[Edit]:
    """Yield a layer that is missing."""
    yield calling(layer, "between", "it is missing", lambda x, **_: x)


def reshape(layer: Any) -> Iterator[Edit]:
    """Yield the order of a picture with its channels first."""
    if len(layer.target_shape) == 3:
        right = layer.call
        h, w, c = layer.target_shape

        def channels_first(inputs: Any) -> Any:
            return ops.transpose(ops.reshape(right(inputs), (-1, c, h, w)), (0, 2, 3, 1))

        yield calling(layer, "between", "it reshapes to channels first", channels_first)


L = keras.layers
OF_KIND: tuple[tuple[Any, Callable[[Any], Iterator[Edit]]], ...] = (
    ((L.BatchNormalization, L.LayerNormalization, L.GroupNormalization), normalization),
    ((L.BatchNormalization, L.LayerNormalization, L.GroupNormalization), scaled),
    (L.BatchNormalization, batch_normalization),
    (L.Conv1D | L.Conv2D | L.Conv3D, convolution),
    (L.DepthwiseConv2D, depthwise),
    ((L.Conv1DTranspose, L.Conv2DTranspose), transposed),
    ((L.Dense, L.Conv1D, L.Conv2D, L.DepthwiseConv2D, L.Conv2DTranspose, L.EinsumDense), biased),
    ((L.Dense, L.Conv1D, L.Conv2D, L.DepthwiseConv2D, L.Conv2DTranspose, L.Activation), activation),
    ((L.ReLU, L.LeakyReLU, L.ELU, L.Softmax), function_layer),
    (L.Flatten, flatten),
    ((L.Normalization, L.Rescaling), preprocessing),
    (L.Reshape, reshape),
    ((L.MaxPooling1D, L.MaxPooling2D, L.AveragePooling1D, L.AveragePooling2D), pooling),
    ((L.GlobalAveragePooling1D, L.GlobalAveragePooling2D), global_pooling),
    ((L.GlobalMaxPooling1D, L.GlobalMaxPooling2D), global_pooling),
    (L.UpSampling2D, upsampling),
    (L.ZeroPadding2D, padding),
    ((L.LSTM, L.GRU, L.SimpleRNN), recurrent),
    (L.Bidirectional, bidirectional),
    (L.MultiHeadAttention, attention),
    (L.Embedding, embedding),
)
"""By the class of a layer, the edits that it may have."""
