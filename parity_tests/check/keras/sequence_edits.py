"""Mistakes in a layer that takes sequences: its gates, its mask, its direction, its scale."""

from collections.abc import Iterator
from functools import partial
from typing import Any

from keras import ops

from parity_tests.check.keras.edits import Edit, calling, holding, setting

GATES = {
    "relu": ops.relu,
    "hard sigmoid": ops.hard_sigmoid,
    "tanh": ops.tanh,
    "sigmoid": ops.sigmoid,
}
"""What may stand in the place of an activation of a cell."""


def recurrent(layer: Any) -> Iterator[Edit]:
    """Yield other gates, biases that move twice as fast, and a mask that is ignored."""
    right = layer.call

    def unmasked(sequences: Any, *arguments: Any, mask: Any = None, **options: Any) -> Any:
        return right(sequences, *arguments, **options)

    yield calling(layer, "outputs", "it ignores the mask", unmasked)
    cell = getattr(layer, "cell", None)
    if cell is None:
        return
    for name, kind in (("activation", "tanh"), ("recurrent_activation", "sigmoid")):
        for other in GATES:
            if hasattr(cell, name) and other != kind:
                edit = setting(cell, "layers", f"{name} is {other}", **{name: GATES[other]})
                yield Edit(layer.name, edit.mistake, "layers", edit.plant)
    if getattr(cell, "reset_after", None) is True:
        yield Edit(
            layer.name,
            "the reset gate is applied before the product, not after",
            "layers",
            partial(holding, cell, call=partial(_reset_before, cell)),
        )


def _reset_before(cell: Any, inputs: Any, states: Any, training: bool = False) -> Any:
    h = states[0] if isinstance(states, list | tuple) else states
    bias, recurrent_bias = cell.bias[0], cell.bias[1]
    x_z, x_r, x_h = ops.split(ops.matmul(inputs, cell.kernel) + bias, 3, axis=-1)
    k_z, k_r, k_h = ops.split(cell.recurrent_kernel, 3, axis=-1)
    b_z, b_r, b_h = ops.split(recurrent_bias, 3, axis=-1)
    z = cell.recurrent_activation(x_z + ops.matmul(h, k_z) + b_z)
    r = cell.recurrent_activation(x_r + ops.matmul(h, k_r) + b_r)
    candidate = cell.activation(x_h + ops.matmul(r * h, k_h) + b_h)
    new = z * h + (1 - z) * candidate
    return new, [new] if isinstance(states, list | tuple) else new


def bidirectional(layer: Any) -> Iterator[Edit]:
    """Yield a backward half that is not turned round again, and other ways to merge."""
    if layer.merge_mode == "concat":
        part = layer.backward_layer
        right = part.call

        def unturned(*arguments: Any, **options: Any) -> Any:
            outputs = right(*arguments, **options)
            return ops.flip(outputs, axis=1) if part.return_sequences else outputs

        def last(*arguments: Any, **options: Any) -> Any:
            with holding(part, return_sequences=True):
                return right(*arguments, **options)[:, 0]

        if part.return_sequences:
            yield Edit(
                layer.name,
                "its backward half is not turned round again",
                "layers",
                partial(holding, part, call=unturned),
            )
        else:
            said = "its backward half is taken at the last step, where it has seen one step only"
            yield Edit(layer.name, said, "between", partial(holding, part, call=last))


def attention(layer: Any) -> Iterator[Edit]:
    """Yield other scales, and a causal mask."""
    right = layer._compute_attention
    width = layer._num_heads * layer._key_dim
    factors = {
        "the scores are not scaled": layer._key_dim**0.5,
        "the scores are scaled by the whole width": (layer._key_dim / width) ** 0.5,
        "the scores are scaled by the width, not its root": layer._key_dim**-0.5,
    }

    def scaled(factor: float, query: Any, *arguments: Any, **options: Any) -> Any:
        return right(query * factor, *arguments, **options)

    for said, factor in factors.items():
        if abs(factor - 1) > 1e-9:
            plant = partial(holding, layer, _compute_attention=partial(scaled, factor))
            yield Edit(layer.name, said, "between", plant)

    def causal(*arguments: Any, **options: Any) -> Any:
        return right(*arguments, **{**options, "use_causal_mask": True})

    plant = partial(holding, layer, _compute_attention=causal)
    yield Edit(layer.name, "it looks back only: a causal mask", "between", plant)


def embedding(layer: Any) -> Iterator[Edit]:
    """Yield the factor of the transformer."""
    right = layer.call
    factor = layer.output_dim**0.5
    said = "it is multiplied by the root of its width"
    yield calling(layer, "between", said, lambda x: right(x) * factor)
