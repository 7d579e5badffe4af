"""Which Keras layers and PyTorch modules go together, and how their weights do."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from parity_tests.check.models.moves import (
    CONVOLUTIONS,
    DENSE,
    SAME,
    TRANSPOSED,
    Move,
    Pairing,
    Tie,
    channelwise,
    flat,
    folded,
    gates_in_order,
    packed,
    tie,
)


def pairing(unit: Mapping[str, Any], module: Mapping[str, Any]) -> Pairing | None:
    """Return how a layer and a module go together; None if they do not."""
    classes, recipe = RECIPES.get(unit["class"], ((), _by_shape))
    if module["class"] in classes:
        made = recipe(unit, module)
    elif module["class"] == "Module":
        made = _by_shape(unit, module)
    else:
        return None
    return made if made is not None and _fits(made) else None


def _fits(pairing: Pairing) -> bool:
    """Return whether shapes agree, and no weight of the module is left over."""
    named = {name for of in pairing.ties for name in of.names}
    if not pairing.ties or set(pairing.module["weights"]) != named | set(pairing.extra):
        return False
    paths = pairing.unit["weights"].values()
    empty = {path: np.zeros(shape, np.int8) for path, shape in paths}
    try:
        moved = pairing.to_port(empty)
    except ValueError:
        return False
    shapes = pairing.module["weights"]
    return all(list(moved[pairing.name(n)].shape) == shape for n, (shape, _) in shapes.items())


def _plain(
    unit: Mapping[str, Any], module: Mapping[str, Any], wanted: dict[str, tuple[str, Move]]
) -> Pairing:
    """Return a pairing of the weights that both have."""
    has, roles = module["weights"], unit["weights"]
    ties = tuple(
        tie(role, name, move)
        for role, (name, move) in wanted.items()
        if role in roles and name in has
    )
    tied = {of.names[0] for of in ties}
    extra = tuple(n for n in has if n in ("weight", "bias") and n not in tied)
    return Pairing(unit, module, ties, extra)


def _shape(unit: Mapping[str, Any], role: str) -> tuple[int, ...]:
    return tuple(unit["weights"][role][1])


def dense(unit: Mapping[str, Any], module: Mapping[str, Any]) -> Pairing | None:
    """Pair a dense layer; as a convolution of width 1 as well."""
    move = DENSE
    if module["class"] != "Linear":
        ones = (1,) * (len(module["weights"]["weight"][0]) - 2)
        move = Move(
            "(in, out) to (out, in, 1)", lambda a: a.T.reshape(*a.T.shape, *ones),
            lambda a: a.reshape(a.shape[:2]).T,
        )  # fmt: skip
    return _plain(unit, module, {"kernel": ("weight", move), "bias": ("bias", SAME)})


def einsum_dense(unit: Mapping[str, Any], module: Mapping[str, Any]) -> Pairing | None:
    """Pair a projection onto heads, or from them."""
    shape = _shape(unit, "kernel")
    inputs = 1 if len(shape) < 3 or shape[0] == module["weights"]["weight"][0][1] else 2
    bias = flat(_shape(unit, "bias")) if "bias" in unit["weights"] else SAME
    kernel = folded(shape, inputs)
    return _plain(unit, module, {"kernel": ("weight", kernel), "bias": ("bias", bias)})


def convolution(unit: Mapping[str, Any], module: Mapping[str, Any]) -> Pairing | None:
    """Pair a convolution; with a linear layer where it is of width 1."""
    shape = _shape(unit, "kernel")
    if module["class"] == "Linear":
        if set(shape[:-2]) != {1}:
            return None
        kernel = Move(
            "(1, 1, in, out) to (out, in)", lambda a: a.reshape(a.shape[-2:]).T,
            lambda a: a.T.reshape(shape),
        )  # fmt: skip
    else:
        kernel = CONVOLUTIONS[len(shape)]
    return _plain(unit, module, {"kernel": ("weight", kernel), "bias": ("bias", SAME)})


def depthwise(unit: Mapping[str, Any], module: Mapping[str, Any]) -> Pairing | None:
    """Pair a depthwise convolution with a convolution of as many groups as channels."""
    move = channelwise(_shape(unit, "kernel"))
    return _plain(unit, module, {"kernel": ("weight", move), "bias": ("bias", SAME)})


def transposed(unit: Mapping[str, Any], module: Mapping[str, Any]) -> Pairing | None:
    """Pair a transposed convolution."""
    move = TRANSPOSED[len(_shape(unit, "kernel"))]
    return _plain(unit, module, {"kernel": ("weight", move), "bias": ("bias", SAME)})


def embedding(unit: Mapping[str, Any], module: Mapping[str, Any]) -> Pairing | None:
    """Pair an embedding."""
    return _plain(unit, module, {"embeddings": ("weight", SAME)})


def normalization(unit: Mapping[str, Any], module: Mapping[str, Any]) -> Pairing | None:
    """Pair a normalization, and its running statistics."""
    wanted = {"gamma": "weight", "beta": "bias", "scale": "weight"}
    wanted |= {"moving_mean": "running_mean", "moving_variance": "running_var"}
    return _plain(unit, module, {role: (name, SAME) for role, name in wanted.items()})


def prelu(unit: Mapping[str, Any], module: Mapping[str, Any]) -> Pairing | None:
    """Pair slopes that are learned, one for each channel."""
    shape = _shape(unit, "alpha")
    move = Move("(..., channels) to (channels)", lambda a: a.ravel(), lambda a: a.reshape(shape))
    return _plain(unit, module, {"alpha": ("weight", move)})


def recurrent(unit: Mapping[str, Any], module: Mapping[str, Any]) -> Pairing | None:
    """Pair recurrent layers, as many as the module has, each in one direction or in both."""
    parts = unit.get("parts", [unit])
    if module["config"]["num_layers"] != len(parts):
        return None
    ties: list[Tie] = []
    for level, part in enumerate(parts):
        both = part["class"] == "Bidirectional"
        kind = part["inner"] if both else part["class"]
        if module["config"]["bidirectional"] != both or module["class"] != MODULES.get(kind):
            return None
        ways = [("forward ", ""), ("backward ", "_reverse")] if both else [("", "")]
        for prefix, end in ways:
            own = _direction(part, module, kind, prefix, f"_l{level}{end}")
            ties += own if part is unit else _of_part(part, own)
    tied = {name for of in ties for name in of.names}
    return Pairing(unit, module, tuple(ties), tuple(n for n in module["weights"] if n not in tied))


MODULES = {"LSTM": "LSTM", "GRU": "GRU", "SimpleRNN": "RNN"}
"""By the class of a recurrent layer, that of its module."""


def _of_part(part: Mapping[str, Any], ties: Iterable[Tie]) -> Iterator[Tie]:
    """Yield the ties of a part of a unit with the roles that its weights have in the unit."""
    for of in ties:
        yield replace(of, roles=tuple(f"{part['name']} {role}" for role in of.roles))


def _direction(
    unit: Mapping[str, Any], module: Mapping[str, Any], kind: str, prefix: str, end: str
) -> Iterator[Tie]:
    gates = {"LSTM": (0, 1, 2, 3), "GRU": (1, 0, 2), "SimpleRNN": (0,)}[kind]
    said = ", gates z r h to r z n" if kind == "GRU" else ""
    move = gates_in_order(gates, f"(in, out) to (out, in){said}")
    yield tie(f"{prefix}kernel", f"weight_ih{end}", move)
    yield tie(f"{prefix}recurrent_kernel", f"weight_hh{end}", move)
    role, names = f"{prefix}bias", (f"bias_ih{end}", f"bias_hh{end}")
    if role not in unit["weights"] or names[0] not in module["weights"]:
        return
    if len(_shape(unit, role)) == 1:
        yield Tie(
            (role,),
            names,
            f"one bias to two, the second 0{said}",
            lambda a: [move.there(a), np.zeros_like(a)],
            lambda a, b: [move.back(a + b)],
            lambda a, b: [move.back(a)],
        )
    else:
        yield Tie(
            (role,),
            names,
            f"two rows to two biases{said}",
            lambda a: [move.there(a[0]), move.there(a[1])],
            lambda a, b: [np.stack([move.back(a), move.back(b)])],
        )


def attention(unit: Mapping[str, Any], module: Mapping[str, Any]) -> Pairing | None:
    """Pair attention of several heads with `nn.MultiheadAttention`, which packs three kernels."""
    if "in_proj_weight" not in module["weights"]:
        return None
    shapes = {role: _shape(unit, role) for role in unit["weights"]}
    kernels = [f"{part} kernel" for part in ("query", "key", "value")]
    sizes = [int(np.prod(shapes[role][1:])) for role in kernels]
    ties = [
        packed([tie(role, "in_proj_weight", folded(shapes[role], 1)) for role in kernels], sizes),
        tie("output kernel", "out_proj.weight", folded(shapes["output kernel"], 2)),
    ]
    if "query bias" in unit["weights"] and "in_proj_bias" in module["weights"]:
        biases = [f"{part} bias" for part in ("query", "key", "value")]
        ties += [
            packed([tie(role, "in_proj_bias", flat(shapes[role])) for role in biases], sizes),
            tie("output bias", "out_proj.bias", SAME),
        ]
    tied = {name for of in ties for name in of.names}
    extra = tuple(n for n in module["weights"] if n.endswith("bias") and n not in tied)
    return Pairing(unit, module, tuple(ties), extra)


def joined(unit: Mapping[str, Any], module: Mapping[str, Any]) -> Pairing | None:
    """Pair layers that take the same input with one linear layer for all of them."""
    if "weight" not in module["weights"]:
        return None
    inputs = module["weights"]["weight"][0][1]
    sizes, ties = [], []
    for part in unit["parts"]:
        size = int(np.prod(_shape(part, "kernel"))) // inputs
        weights = {name: [[size, *of[0][1:]], of[1]] for name, of in module["weights"].items()}
        paired = pairing(part, {**module, "weights": weights})
        if paired is None:
            return None
        sizes.append(size)
        ties.append(list(_of_part(part, paired.ties)))
    if len({len(of) for of in ties}) > 1:
        return None
    found = tuple(packed(of, sizes) for of in zip(*ties, strict=True))
    tied = {name for of in found for name in of.names}
    return Pairing(unit, module, found, tuple(n for n in module["weights"] if n not in tied))


def _by_shape(unit: Mapping[str, Any], module: Mapping[str, Any]) -> Pairing:
    """Pair a layer with a module of the porter's own, where shapes and names leave one way."""
    ties: list[Tie] = []
    left = dict(module["weights"])
    for role, (_, shape) in unit["weights"].items():
        for name, (other, _) in left.items():
            move = _move(tuple(shape), tuple(other), bool(module.get("transposed")))
            if move and _alike(role, name, list(left)):
                ties.append(tie(role, name, move))
                del left[name]
                break
    return Pairing(unit, module, tuple(ties))


def _move(shape: tuple[int, ...], other: tuple[int, ...], transposed: bool) -> Move | None:
    """Return the first move that leads from one shape to another."""
    moves = [SAME, *([DENSE] if len(shape) == 2 else [])]
    moves = moves[::-1] if transposed else moves
    moves += filter(None, [CONVOLUTIONS.get(len(shape))])
    return next((m for m in moves if m.there(np.empty(shape, np.int8)).shape == other), None)


ALIKE = {
    "kernel": "kernel weight w W",
    "bias": "bias b beta",
    "gamma": "gamma weight scale g",
    "beta": "beta bias shift b",
    "moving_mean": "running_mean moving_mean mean",
    "moving_variance": "running_var moving_variance var variance",
}


def _alike(role: str, name: str, names: list[str]) -> bool:
    """Return whether a name may be that of a role: it says so, or none of them does."""
    known = ALIKE.get(role, role).split()
    return name in known or not any(other in known for other in names)


NORMS = ("BatchNorm1d", "BatchNorm2d", "BatchNorm3d", "SyncBatchNorm")
INSTANCES = ("InstanceNorm1d", "InstanceNorm2d", "InstanceNorm3d")
RECIPES: dict[str, tuple[tuple[str, ...], Callable[..., Pairing | None]]] = {
    "Dense": (("Linear", "Conv1d", "Conv2d"), dense),
    "EinsumDense": (("Linear",), einsum_dense),
    "Conv1D": (("Conv1d", "Linear"), convolution),
    "Conv2D": (("Conv2d", "Linear"), convolution),
    "Conv3D": (("Conv3d",), convolution),
    "DepthwiseConv1D": (("Conv1d",), depthwise),
    "DepthwiseConv2D": (("Conv2d",), depthwise),
    "Conv1DTranspose": (("ConvTranspose1d",), transposed),
    "Conv2DTranspose": (("ConvTranspose2d",), transposed),
    "Conv3DTranspose": (("ConvTranspose3d",), transposed),
    "Embedding": (("Embedding", "EmbeddingBag"), embedding),
    "BatchNormalization": (NORMS, normalization),
    "LayerNormalization": (("LayerNorm",), normalization),
    "RMSNormalization": (("RMSNorm",), normalization),
    "GroupNormalization": (("GroupNorm", *INSTANCES), normalization),
    "PReLU": (("PReLU",), prelu),
    "LSTM": (("LSTM",), recurrent),
    "GRU": (("GRU",), recurrent),
    "SimpleRNN": (("RNN",), recurrent),
    "Bidirectional": (("LSTM", "GRU", "RNN"), recurrent),
    "MultiHeadAttention": (("MultiheadAttention",), attention),
    "Joined": (("Linear",), joined),
    "Stacked": (("LSTM", "GRU", "RNN"), recurrent),
}
"""By the class of a Keras layer, the classes of modules that it may be, and the recipe."""
