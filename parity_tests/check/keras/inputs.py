"""A batch for a model whose file brings none, drawn with a seed."""

from typing import Any

import keras
import numpy as np
from keras.layers import Embedding

from parity_tests.check.keras.units import walk
from parity_tests.check.messages import UnusablePort

SAMPLES = 8
SCALED_FROM = 4
"""Numbers of a sample from which on it is recognized whatever its scale."""
FREE = {2: 6, 3: 6, 4: 32}
"""By the rank of an input, the length of an axis that the model leaves open."""


def drawn(model: Any, loss: Any, floatx: str) -> tuple[Any, Any]:
    """Return inputs and targets: floats normal, tokens within `input_dim`, labels within classes.

    Raises:
        UnusablePort: If the model does not say what it takes.
    """
    rng = np.random.default_rng(0)
    if not getattr(model, "inputs", None):
        raise UnusablePort(
            "its model does not say what it takes: begin it with keras.Input, or define batch() "
            "that returns inputs and targets"
        )
    inputs = [_input(rng, tensor, model, floatx) for tensor in model.inputs]
    outputs = keras.tree.flatten(model.outputs)
    of_names = getattr(model, "output", None)  # of a Sequential, there is none
    names = sorted(of_names) if isinstance(of_names, dict) else None
    if isinstance(loss, dict):
        loss = [loss.get(name) for name in names or model.output_names]
    losses = list(loss) if isinstance(loss, list | tuple) else [loss]
    losses = losses * len(outputs) if len(losses) == 1 else losses
    targets = [_target(rng, tensor, of, floatx) for tensor, of in zip(outputs, losses, strict=True)]
    packed = keras.tree.pack_sequence_as(model.input, inputs) if len(inputs) > 1 else inputs[0]
    if names:
        return packed, dict(zip(names, targets, strict=True))
    return packed, targets if len(targets) > 1 else targets[0]


def _input(rng: np.random.Generator, tensor: Any, model: Any, floatx: str) -> np.ndarray:
    rank = len(tensor.shape)
    shape = [SAMPLES, *(size or FREE.get(rank, 6) for size in tensor.shape[1:])]
    limit = _tokens(tensor, model)
    if limit:
        return rng.integers(0, limit, shape)
    return rng.normal(size=shape).astype(floatx)


def _tokens(tensor: Any, model: Any) -> int:
    """Return how many tokens an input may have; 0 if it takes no tokens."""
    if len(tensor.shape) > 2 and "int" not in str(tensor.dtype):
        return 0
    for layer in model.layers:
        limits = [part.input_dim for part in (layer, *walk(layer)) if isinstance(part, Embedding)]
        for node in layer._inbound_nodes:
            if limits and len(node.input_tensors) == 1 and node.input_tensors[0] is tensor:
                return int(min(limits))
    return 2 if "int" in str(tensor.dtype) else 0


def _target(rng: np.random.Generator, tensor: Any, loss: Any, floatx: str) -> np.ndarray:
    shape = [SAMPLES, *(size or FREE.get(len(tensor.shape), 6) for size in tensor.shape[1:])]
    name = loss if isinstance(loss, str) else getattr(loss, "__name__", type(loss).__name__)
    name = name.lower().replace("_", "")
    if "sparsecategorical" in name:
        return rng.integers(0, shape[-1], shape[:-1])
    if "categorical" in name:
        return np.eye(shape[-1], dtype=floatx)[rng.integers(0, shape[-1], shape[:-1])]
    if "binary" in name:
        return rng.integers(0, 2, shape).astype(floatx)
    if "hinge" in name:
        return (2.0 * rng.integers(0, 2, shape) - 1).astype(floatx)
    if name.startswith(("kl", "kullback")):
        return rng.dirichlet(np.ones(shape[-1]), shape[:-1]).astype(floatx)
    if "poisson" in name:
        return rng.poisson(2, shape).astype(floatx)
    return rng.normal(size=shape).astype(floatx)


def names(model: Any, inputs: Any) -> list[str]:
    """Return the names of the inputs, in their order; none if the model does not say."""
    if isinstance(inputs, dict):
        return sorted(inputs)  # as Keras flattens them
    return [tensor.name for tensor in getattr(model, "inputs", None) or ()]


def listed(name: str, structure: Any) -> dict[str, np.ndarray]:
    """Return the arrays of a structure by name and number."""
    flat = [keras.ops.convert_to_numpy(item) for item in keras.tree.flatten(structure)]
    return {f"{name} {index}": array for index, array in enumerate(flat)}


def looked_up(
    given: list[np.ndarray], held: list[np.ndarray]
) -> tuple[np.ndarray | None, float, float]:
    """Return where samples are in some data, and by what they differ from them: scale and offset.

    Args:
        given: Inputs of the samples.
        held: Inputs of all data.

    Returns:
        Places, a factor and an offset; None for the places of samples that are not in the data.
    """
    if [a.shape[1:] for a in given] != [a.shape[1:] for a in held]:
        return None, 1.0, 0.0
    few, all_of = (np.concatenate([a.reshape(len(a), -1) for a in of], 1) for of in (given, held))
    few = few.astype(np.float64)
    places = _nearest(few, all_of)
    if _equal(few, all_of[places]):
        return places, 1.0, 0.0
    if few.shape[1] >= SCALED_FROM:
        places = _nearest(_standard(few), _standard(all_of))
        found = all_of[places]
        factor, offset = np.polyfit(found.ravel(), few.ravel(), 1)
        if abs(factor) > 1e-9 and _equal(few, factor * found + offset):
            return places, float(factor), float(offset)
    return None, 1.0, 0.0


def _nearest(few: np.ndarray, all_of: np.ndarray) -> np.ndarray:
    squares = (all_of**2).sum(1)
    return (squares - 2 * few @ all_of.T).argmin(1)


def _standard(array: np.ndarray) -> np.ndarray:
    spread = array.std(1, keepdims=True)
    return (array - array.mean(1, keepdims=True)) / np.where(spread == 0, 1, spread)


def _equal(found: np.ndarray, right: np.ndarray) -> bool:
    return bool(np.abs(found - right).max() <= 1e-5 * np.abs(right).max())
