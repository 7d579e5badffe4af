from .evaluation import evaluate, predict
from .layers import NaiveDense, NaiveSequential, mnist_model
from .losses import sparse_categorical_crossentropy
from .mnist import load_mnist
from .optimizers import SGD, update_weights
from .training import BatchGenerator, fit, one_training_step
from .weights import load_weights, save_weights, weights_sha256

__all__ = [
    "SGD",
    "BatchGenerator",
    "NaiveDense",
    "NaiveSequential",
    "evaluate",
    "fit",
    "load_mnist",
    "load_weights",
    "mnist_model",
    "one_training_step",
    "predict",
    "save_weights",
    "sparse_categorical_crossentropy",
    "update_weights",
    "weights_sha256",
]
