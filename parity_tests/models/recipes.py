"""How the weights of a Keras layer become those of a PyTorch module, and back.

A recipe says which classes go together and, for shapes that fit, how each tensor is rearranged.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

Arrays = dict[str, np.ndarray]


@dataclass(frozen=True)
class Move:
    """How one tensor is rearranged.

    Attributes:
        said: In words.
        there: From Keras to PyTorch.
        back: From PyTorch to Keras.
    """

    said: str
    there: Callable[[np.ndarray], np.ndarray]
    back: Callable[[np.ndarray], np.ndarray]


def _axes(said: str, *order: int) -> Move:
    inverse = np.argsort(order)
    return Move(said, lambda a: a.transpose(order), lambda a: a.transpose(inverse))


SAME = Move("as it is", lambda a: a, lambda a: a)
DENSE = _axes("(in, out) to (out, in)", 1, 0)
CONVOLUTIONS = {
    3: _axes("(k, in, out) to (out, in, k)", 2, 1, 0),
    4: _axes("HWIO to OIHW", 3, 2, 0, 1),
    5: _axes("DHWIO to OIDHW", 4, 3, 0, 1, 2),
}
TRANSPOSED = {
    3: _axes("(k, out, in) to (in, out, k)", 2, 1, 0),
    4: _axes("HWOI to IOHW", 3, 2, 0, 1),
}


def _depthwise(shape: tuple[int, ...]) -> Move:
    h, w, channels, multiplier = shape
    return Move(
        "(h, w, channels, multiplier) to (channels * multiplier, 1, h, w)",
        lambda a: a.transpose(2, 3, 0, 1).reshape(channels * multiplier, 1, h, w),
        lambda a: a.reshape(channels, multiplier, h, w).transpose(2, 3, 0, 1),
    )


def _folded(shape: tuple[int, ...], inputs: int) -> Move:
    """Return how a kernel of several heads becomes a matrix, given how many axes are inputs."""
    rows = int(np.prod(shape[:inputs]))
    return Move(
        f"heads folded, {shape} to (out, in)",
        lambda a: a.reshape(rows, -1).T,
        lambda a: a.T.reshape(shape),
    )


def _flat(shape: tuple[int, ...]) -> Move:
    return Move("heads folded", lambda a: a.reshape(-1), lambda a: a.reshape(shape))


def _gates(order: tuple[int, ...], said: str, transpose: bool) -> Move:
    """Return how gates that lie side by side in the last axis are put in another order."""
    inverse = np.argsort(order)

    def there(a: np.ndarray) -> np.ndarray:
        parts = np.split(a, len(order), axis=-1)
        moved = np.concatenate([parts[i] for i in order], axis=-1)
        return moved.T if transpose else moved

    def back(a: np.ndarray) -> np.ndarray:
        parts = np.split(a.T if transpose else a, len(order), axis=-1)
        return np.concatenate([parts[i] for i in inverse], axis=-1)

    return Move(said, there, back)


@dataclass(frozen=True)
class Tie:
    """Weights of a layer and of a module that go together.

    Attributes:
        roles: Of the weights in the layer.
        names: Of those in the module.
        said: How they are rearranged, in words.
        there: Returns those of the module, given those of the layer.
        back: Returns those of the layer, given those of the module.
        gradient: The same for gradients, where that is another function.
    """

    roles: tuple[str, ...]
    names: tuple[str, ...]
    said: str
    there: Callable[..., list[np.ndarray]]
    back: Callable[..., list[np.ndarray]]
    gradient: Callable[..., list[np.ndarray]] | None = None


def tie(role: str, name: str, move: Move) -> Tie:
    """Return the tie of one weight with one."""
    return Tie((role,), (name,), move.said, lambda a: [move.there(a)], lambda a: [move.back(a)])


@dataclass(frozen=True)
class Pairing:
    """A Keras layer and a PyTorch module, and how their weights go together.

    Attributes:
        unit: The layer, as `units.describe` describes it.
        module: The module, as the port's process describes it.
        ties: Of their weights.
        zeros: Names in the module that hold zeros, since the layer has no such weight.
    """

    unit: Mapping[str, Any]
    module: Mapping[str, Any]
    ties: tuple[Tie, ...]
    zeros: tuple[str, ...] = ()

    @property
    def missing(self) -> list[str]:
        """The roles that the module has no weight for."""
        tied = {role for of in self.ties for role in of.roles}
        return [role for role in self.unit["weights"] if role not in tied]

    def name(self, name: str) -> str:
        """Return the name in the model of a weight in the module."""
        return ".".join(filter(None, [self.module["path"], name]))

    def path(self, role: str) -> str:
        """Return the path in the Keras model of a weight in the layer."""
        return str(self.unit["weights"][role][0])

    def to_port(self, weights: Mapping[str, np.ndarray]) -> Arrays:
        """Return the weights of the module, by name, given those of the layer, by path."""
        found: Arrays = {}
        for of in self.ties:
            moved = of.there(*(weights[self.path(role)] for role in of.roles))
            found |= {self.name(name): a for name, a in zip(of.names, moved, strict=True)}
        for name in self.zeros:
            shape = self.module["weights"][name][0]
            found[self.name(name)] = np.zeros(shape, next(iter(weights.values())).dtype)
        return found

    def to_keras(self, arrays: Mapping[str, np.ndarray], gradient: bool = False) -> Arrays:
        """Return what there is of the module, by the paths of the layer's weights."""
        found: Arrays = {}
        for of in self.ties:
            held = [arrays.get(self.name(name)) for name in of.names]
            back = (of.gradient if gradient else None) or of.back
            if held[0] is not None and (back is of.gradient or not any(a is None for a in held)):
                moved = back(*held)
                found |= {self.path(role): a for role, a in zip(of.roles, moved, strict=True)}
        return found

    def lines(self) -> Iterator[tuple[str, str, str]]:
        """Yield paths, names and what is done to each tie."""
        for of in self.ties:
            paths, names = map(self.path, of.roles), map(self.name, of.names)
            yield ", ".join(paths), ", ".join(names), of.said
        for role in self.missing:
            yield self.path(role), "-", "the port has none"
        for name in self.zeros:
            yield "-", self.name(name), "0, since the layer has none"


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
    if not pairing.ties or set(pairing.module["weights"]) != named | set(pairing.zeros):
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
    return Pairing(unit, module, ties, tuple(n for n in has if n == "bias" and n not in tied))


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
    bias = _flat(_shape(unit, "bias")) if "bias" in unit["weights"] else SAME
    kernel = _folded(shape, inputs)
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
    move = _depthwise(_shape(unit, "kernel"))
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


def recurrent(unit: Mapping[str, Any], module: Mapping[str, Any]) -> Pairing | None:
    """Pair an LSTM, a GRU or a simple recurrent layer of one layer, in one direction or both."""
    both = unit["class"] == "Bidirectional"
    kind = unit["inner"] if both else unit["class"]
    config = module["config"]
    if config["num_layers"] != 1 or config["bidirectional"] != both:
        return None
    if module["class"] != {"LSTM": "LSTM", "GRU": "GRU", "SimpleRNN": "RNN"}.get(kind):
        return None
    ways = (("forward ", "_l0"), ("backward ", "_l0_reverse")) if both else (("", "_l0"),)
    ties = tuple(of for way in ways for of in _direction(unit, module, kind, *way))
    tied = {name for of in ties for name in of.names}
    return Pairing(unit, module, ties, tuple(n for n in module["weights"] if n not in tied))


def _direction(
    unit: Mapping[str, Any], module: Mapping[str, Any], kind: str, prefix: str, end: str
) -> Iterator[Tie]:
    gates = {"LSTM": (0, 1, 2, 3), "GRU": (1, 0, 2), "SimpleRNN": (0,)}[kind]
    said = ", gates z r h to r z n" if kind == "GRU" else ""
    kernel = _gates(gates, f"(in, out) to (out, in){said}", transpose=True)
    yield tie(f"{prefix}kernel", f"weight_ih{end}", kernel)
    yield tie(f"{prefix}recurrent_kernel", f"weight_hh{end}", kernel)
    role, names = f"{prefix}bias", (f"bias_ih{end}", f"bias_hh{end}")
    if role not in unit["weights"] or names[0] not in module["weights"]:
        return
    bias = _gates(gates, "", transpose=False)
    if len(_shape(unit, role)) == 1:
        yield Tie(
            (role,),
            names,
            f"one bias to two, the second 0{said}",
            lambda a: [bias.there(a), np.zeros_like(a)],
            lambda a, b: [bias.back(a + b)],
            lambda a, b: [bias.back(a)],
        )
    else:
        yield Tie(
            (role,),
            names,
            f"two rows to two biases{said}",
            lambda a: [bias.there(a[0]), bias.there(a[1])],
            lambda a, b: [np.stack([bias.back(a), bias.back(b)])],
        )


def attention(unit: Mapping[str, Any], module: Mapping[str, Any]) -> Pairing | None:
    """Pair attention of several heads with `nn.MultiheadAttention`, which packs three kernels."""
    if "in_proj_weight" not in module["weights"]:
        return None
    parts = ("query", "key", "value")
    shapes = [_shape(unit, f"{part} kernel") for part in parts]
    folds = [_folded(shape, 1) for shape in shapes]
    ends = np.cumsum([int(np.prod(shape[1:])) for shape in shapes])[:-1]
    ties = [
        Tie(
            tuple(f"{part} kernel" for part in parts),
            ("in_proj_weight",),
            "heads folded, query, key and value packed",
            lambda *a: [np.concatenate([f.there(x) for f, x in zip(folds, a, strict=True)])],
            lambda a: [f.back(x) for f, x in zip(folds, np.split(a, ends), strict=True)],
        ),
        tie("output kernel", "out_proj.weight", _folded(_shape(unit, "output kernel"), 2)),
    ]
    if "query bias" in unit["weights"] and "in_proj_bias" in module["weights"]:
        flats = [_flat(_shape(unit, f"{part} bias")) for part in parts]
        ties += [
            Tie(
                tuple(f"{part} bias" for part in parts),
                ("in_proj_bias",),
                "heads folded, query, key and value packed",
                lambda *a: [np.concatenate([f.there(x) for f, x in zip(flats, a, strict=True)])],
                lambda a: [f.back(x) for f, x in zip(flats, np.split(a, ends), strict=True)],
            ),
            tie("output bias", "out_proj.bias", SAME),
        ]
    tied = {name for of in ties for name in of.names}
    zeros = tuple(n for n in module["weights"] if n.endswith("bias") and n not in tied)
    return Pairing(unit, module, tuple(ties), zeros)


def _by_shape(unit: Mapping[str, Any], module: Mapping[str, Any]) -> Pairing | None:
    """Pair a layer with a module of the porter's own, where shapes and names leave one way."""
    ties: list[Tie] = []
    left = dict(module["weights"])
    for role, (_, shape) in unit["weights"].items():
        for name, (other, _) in left.items():
            move = _move(tuple(shape), tuple(other))
            if move and _alike(role, name, list(left)):
                ties.append(tie(role, name, move))
                del left[name]
                break
    return None if left else Pairing(unit, module, tuple(ties))


def _move(shape: tuple[int, ...], other: tuple[int, ...]) -> Move | None:
    """Return the first move that leads from one shape to another."""
    moves = [
        SAME,
        *([DENSE] if len(shape) == 2 else []),
        *filter(None, [CONVOLUTIONS.get(len(shape))]),
    ]
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
    "Embedding": (("Embedding", "EmbeddingBag"), embedding),
    "BatchNormalization": (NORMS, normalization),
    "LayerNormalization": (("LayerNorm",), normalization),
    "RMSNormalization": (("RMSNorm",), normalization),
    "GroupNormalization": (("GroupNorm",), normalization),
    "LSTM": (("LSTM",), recurrent),
    "GRU": (("GRU",), recurrent),
    "SimpleRNN": (("RNN",), recurrent),
    "Bidirectional": (("LSTM", "GRU", "RNN"), recurrent),
    "MultiHeadAttention": (("MultiheadAttention",), attention),
}
"""By the class of a Keras layer, the classes of modules that it may be, and the recipe."""
