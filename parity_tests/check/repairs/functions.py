"""The functions of PyTorch that may stand for each other, and what they are told."""

from typing import Any

CHOICES: dict[str, tuple[Any, ...]] = {
    "mode": ("nearest", "bilinear", "bicubic", "linear", "trilinear", "area"),
    "padding_mode": ("zeros", "reflect", "replicate", "circular"),
    "approximate": ("none", "tanh"),
    "reduction": ("mean", "sum"),
    "align_corners": (False, True),
    "nonlinearity": ("tanh", "relu"),
}
"""By the name of an argument, all that it may be."""

_SIZES = """
in_features out_features in_channels out_channels num_embeddings embedding_dim num_features
hidden_size input_size num_layers normalized_shape num_channels num_heads embed_dim kdim vdim
bidirectional transposed affine elementwise_affine bias head_dim track_running_stats inplace
training scale_grad_by_freq proj_size upscale_factor maximize foreach capturable differentiable
fused out size dtype keepdim pin_memory requires_grad start_dim end_dim unbiased return_indices
decoupled_weight_decay initial_lr groups output_padding
"""
SIZES = frozenset(_SIZES.split())
"""Arguments that decide no number, or on which the shapes of weights depend."""

NO_NUMBERS = ("backward", "grad", "step", "detach", "item", "requires_grad_", "double", "float")
"""What is called and computes no number."""

AXES = ("dim", "dim0", "dim1", "start_dim", "axis")

ACTIVATIONS = {
    "ReLU": "relu",
    "ReLU6": "relu6",
    "LeakyReLU": "leaky_relu",
    "ELU": "elu",
    "SELU": "selu",
    "GELU": "gelu",
    "SiLU": "silu",
    "Mish": "mish",
    "Tanh": "tanh",
    "Sigmoid": "sigmoid",
    "Softplus": "softplus",
    "Softsign": "softsign",
    "Softmax": "softmax",
    "LogSoftmax": "log_softmax",
    "Hardsigmoid": "hardsigmoid",
    "Hardswish": "hardswish",
    "Hardtanh": "hardtanh",
}
"""By the class of a module, the function of the same name."""

OPTIONS = {
    "leaky_relu": ("negative_slope",),
    "elu": ("alpha",),
    "gelu": ("approximate",),
    "softmax": ("dim",),
    "log_softmax": ("dim",),
}
"""What an activation is told."""

OF_KERAS: dict[str, tuple[str, dict[str, Any]]] = {
    "relu": ("relu", {}),
    "relu6": ("relu6", {}),
    "tanh": ("tanh", {}),
    "sigmoid": ("sigmoid", {}),
    "elu": ("elu", {}),
    "selu": ("selu", {}),
    "gelu": ("gelu", {}),
    "silu": ("silu", {}),
    "swish": ("silu", {}),
    "mish": ("mish", {}),
    "softplus": ("softplus", {}),
    "softsign": ("softsign", {}),
    "softmax": ("softmax", {"dim": -1}),
    "log_softmax": ("log_softmax", {"dim": -1}),
    "hard_sigmoid": ("hardsigmoid", {}),
    "hard_silu": ("hardswish", {}),
    "leaky_relu": ("leaky_relu", {"negative_slope": 0.2}),
    "exponential": ("exp", {}),
}
"""By the name of an activation in Keras, the function of PyTorch."""

NORMS = ("BatchNorm", "LayerNorm", "GroupNorm", "Dropout", "MaxPool", "AvgPool")
SIBLINGS: tuple[tuple[str, ...], ...] = (
    ("max_pool1d", "avg_pool1d"),
    ("max_pool2d", "avg_pool2d"),
    ("max_pool3d", "avg_pool3d"),
    ("adaptive_max_pool1d", "adaptive_avg_pool1d"),
    ("adaptive_max_pool2d", "adaptive_avg_pool2d"),
    ("mean", "amax", "sum"),
    ("add", "mul", "sub", "maximum"),
    ("mse_loss", "l1_loss", "huber_loss", "smooth_l1_loss"),
    ("binary_cross_entropy", "binary_cross_entropy_with_logits"),
    ("cross_entropy", "nll_loss"),
)
"""Functions that take the same arguments."""
MERGES = ("cat", "concat", "stack", "hstack")
FLATTENS = ("flatten", "reshape", "view", "Flatten")
LAST = {3: (0, 2, 1), 4: (0, 2, 3, 1), 5: (0, 2, 3, 4, 1)}
"""By the number of axes, the order that puts the channels last."""
INTEGERS = (0, 1, 2, 3, 4)
OPTIMIZERS = {"lr": "learning_rate", "eps": "epsilon", "alpha": "rho"}
"""By the constants of an optimizer of PyTorch, what Keras calls them."""
CONSTANTS = {"huber_loss": "delta", "smooth_l1_loss": "beta"}
"""By a loss, what its constant is called."""
KEPT = ("kernel_size", "stride", "padding", "output_size", "reduction")
"""What a module tells the function of another one."""
CLASSES = {
    "max_pool1d": "MaxPool1d",
    "max_pool2d": "MaxPool2d",
    "max_pool3d": "MaxPool3d",
    "avg_pool1d": "AvgPool1d",
    "avg_pool2d": "AvgPool2d",
    "avg_pool3d": "AvgPool3d",
    "adaptive_max_pool1d": "AdaptiveMaxPool1d",
    "adaptive_avg_pool1d": "AdaptiveAvgPool1d",
    "adaptive_max_pool2d": "AdaptiveMaxPool2d",
    "adaptive_avg_pool2d": "AdaptiveAvgPool2d",
    "mse_loss": "MSELoss",
    "l1_loss": "L1Loss",
    "huber_loss": "HuberLoss",
    "smooth_l1_loss": "SmoothL1Loss",
    "binary_cross_entropy": "BCELoss",
    "binary_cross_entropy_with_logits": "BCEWithLogitsLoss",
    "cross_entropy": "CrossEntropyLoss",
    "nll_loss": "NLLLoss",
}
"""By a function, the class of the module."""
FUNCTIONS = {kind: function for function, kind in CLASSES.items()}
"""The other way round."""
