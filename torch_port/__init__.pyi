from . import first_example, gradients
from .evaluation import evaluate, predict
from .framework import ArgumentError, use_device, use_dtype
from .layers import NaiveDense, NaiveSequential, mnist_model
from .losses import sparse_categorical_crossentropy
from .mnist import load_mnist
from .optimizers import SGD, RMSprop, update_weights
from .training import BatchGenerator, DivergenceError, Progress, fit, one_training_step
from .weights import load_weights, save_weights, weights_sha256

__all__ = [
    "SGD",
    "ArgumentError",
    "BatchGenerator",
    "DivergenceError",
    "NaiveDense",
    "NaiveSequential",
    "Progress",
    "RMSprop",
    "evaluate",
    "first_example",
    "fit",
    "gradients",
    "load_mnist",
    "load_weights",
    "mnist_model",
    "one_training_step",
    "predict",
    "save_weights",
    "sparse_categorical_crossentropy",
    "update_weights",
    "use_device",
    "use_dtype",
    "weights_sha256",
]
