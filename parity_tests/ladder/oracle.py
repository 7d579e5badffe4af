"""The third computation: the same training in NumPy, with gradients derived by hand.

Everything is computed in float64. Each `*_gradient` applies the chain rule once: given
the derivative of the loss with respect to an output, it returns the derivative with
respect to each input. The name of a derivative is `d` and the name of the variable.
"""

from collections.abc import Callable, Iterator, Mapping
from itertools import pairwise

import numpy as np

EPSILON = 1e-7
"""Where Keras clips a probability: `keras.config.epsilon()`."""


def initial_weights(
    seed: int, sizes: tuple[int, ...] = (784, 512, 10), dtype: str = "float32"
) -> dict[str, np.ndarray]:
    """Return kernels uniform in [0, 0.1), drawn in float64 and rounded, and zero biases."""
    rng = np.random.default_rng(seed)
    weights = {}
    for index, shape in enumerate(pairwise(sizes)):
        # Between hidden layers outputs keep the size of inputs, lest the clip stop all gradients.
        scale = 20 / shape[0] if 0 < index < len(sizes) - 2 else 1
        weights[f"layers.{index}.W"] = (rng.uniform(0, 0.1, shape) * scale).astype(dtype)
        weights[f"layers.{index}.b"] = np.zeros(shape[1], dtype)
    return weights


def dense(x: np.ndarray, W: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Return z = x W + b, of shape (batch, outputs)."""
    return x @ W + b


def dense_gradient(x: np.ndarray, dz: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return dW = x^T dz, and db, the sum of dz over the batch."""
    return x.T @ dz, dz.sum(axis=0)


def dense_input_gradient(W: np.ndarray, dz: np.ndarray) -> np.ndarray:
    """Return dx = dz W^T."""
    return dz @ W.T


def relu(z: np.ndarray) -> np.ndarray:
    """Return max(z, 0)."""
    return np.maximum(z, 0)


def relu_gradient(z: np.ndarray, da: np.ndarray) -> np.ndarray:
    """Return dz = da where z > 0, else 0; both frameworks choose 0 at z = 0 as well."""
    return np.where(z > 0, da, 0)


def softmax(z: np.ndarray) -> np.ndarray:
    """Return p_k = exp(z_k) / sum_j exp(z_j); the largest z of a row is subtracted first."""
    exp = np.exp(z - z.max(axis=1, keepdims=True))
    return exp / exp.sum(axis=1, keepdims=True)


def softmax_gradient(p: np.ndarray, dp: np.ndarray) -> np.ndarray:
    """Return dz_k = p_k (dp_k - sum_j dp_j p_j), since dp_j/dz_k = p_j ([j = k] - p_k)."""
    return p * (dp - (dp * p).sum(axis=1, keepdims=True))


def clip(p: np.ndarray, dtype: str, epsilon: float = EPSILON) -> np.ndarray:
    """Return p held within [epsilon, 1 - epsilon], both rounded to a dtype."""
    return np.clip(p, *_bounds(dtype, epsilon))


def clip_gradient(
    p: np.ndarray, dq: np.ndarray, dtype: str, epsilon: float = EPSILON
) -> np.ndarray:
    """Return dp = dq where p lies within the bounds or on them, else 0."""
    lower, upper = _bounds(dtype, epsilon)
    return np.where((lower <= p) & (p <= upper), dq, 0)


def log_gradient(q: np.ndarray, dl: np.ndarray) -> np.ndarray:
    """Return dq = dl / q, since d log(q)/dq = 1/q."""
    return dl / q


def cross_entropy(logits: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Return -log softmax(logits)[label] of each sample, in nats."""
    shifted = logits - logits.max(axis=1, keepdims=True)
    return np.log(np.exp(shifted).sum(axis=1)) - shifted[np.arange(len(labels)), labels]


def cross_entropy_gradient(
    logits: np.ndarray, labels: np.ndarray, dlosses: np.ndarray
) -> np.ndarray:
    """Return dlogits_k = dloss (softmax(logits)_k - [k = label])."""
    difference = softmax(logits)
    difference[np.arange(len(labels)), labels] -= 1
    return difference * dlosses[:, None]


def loss(p: np.ndarray, labels: np.ndarray, dtype: str, epsilon: float = EPSILON) -> np.ndarray:
    """Return the loss of each sample as Keras computes it in eager mode, in nats."""
    return cross_entropy(np.log(clip(p, dtype, epsilon)), labels)


def loss_gradient(
    p: np.ndarray, labels: np.ndarray, dlosses: np.ndarray, dtype: str, epsilon: float = EPSILON
) -> np.ndarray:
    """Return dp through the cross-entropy, the logarithm and the clip."""
    q = clip(p, dtype, epsilon)
    dl = cross_entropy_gradient(np.log(q), labels, dlosses)
    return clip_gradient(p, log_gradient(q, dl), dtype, epsilon)


Rule = Callable[[str, np.ndarray, np.ndarray], None]


class SGD:
    """w -= learning_rate * g."""

    def __init__(self, learning_rate: float = 1e-3) -> None:
        self.learning_rate = learning_rate

    def __call__(self, name: str, w: np.ndarray, g: np.ndarray) -> None:
        """Update the weight of a name in place."""
        w -= self.learning_rate * g


class RMSprop:
    """Keras's rule: v = rho v + (1 - rho) g^2, then w -= learning_rate * g / sqrt(v + epsilon)."""

    def __init__(
        self, learning_rate: float = 1e-3, rho: float = 0.9, epsilon: float = EPSILON
    ) -> None:
        self.learning_rate = learning_rate
        self.rho = rho
        self.epsilon = epsilon
        self._v: dict[str, np.ndarray] = {}

    def __call__(self, name: str, w: np.ndarray, g: np.ndarray) -> None:
        """Update the weight of a name in place."""
        self._v[name] = self.rho * self._v.get(name, 0) + (1 - self.rho) * g**2
        w -= self.learning_rate * g / self.root(self._v[name])

    def root(self, v: np.ndarray) -> np.ndarray:
        """Return what the gradient is divided by."""
        return np.sqrt(v + self.epsilon)


class Oracle:
    """A model of dense layers, relu between them and softmax at the end.

    Each step of the training is a method of its own, so that a subclass can make a mistake
    in one of them.

    Args:
        dtype: Of the implementations it judges: the oracle clips where these clip.
        rule: Updates a weight in place, given its name, the weight and its gradient.
        on_logits: Whether the loss is that of the logits, as in Keras's `fit`; it clips nothing.

    Attributes:
        sizes: Of the images and of the output of each layer.
        scales: The size of the terms whose sum each gradient of the last batch is. Where they
            cancel, what is left is as uncertain as they are.
        mnist: The images and the labels, by name, for `data`.
        epoch: The one that `fit` is in.
    """

    name = "oracle"

    def __init__(
        self, dtype: str = "float64", rule: Rule | None = None, on_logits: bool = False
    ) -> None:
        self.dtype = dtype
        self.sizes: tuple[int, ...] = (784, 512, 10)
        self.rule = rule or SGD()
        self.on_logits = on_logits
        self.scales: dict[str, float] = {}
        self.mnist: Mapping[str, np.ndarray] = {}
        self.epoch = 0
        self._weights: dict[str, np.ndarray] = {}

    def data(self) -> dict[str, np.ndarray]:
        """Return `mnist`, as it was given."""
        return dict(self.mnist)

    def initial_weights(self, seed: int) -> dict[str, np.ndarray]:
        """Return the weights that training starts from."""
        return initial_weights(seed, self.sizes, self.dtype)

    def load_weights(self, weights: Mapping[str, np.ndarray]) -> None:
        """Take a copy of `layers.0.W`, `layers.0.b` and so on, as float64."""
        self._weights = {name: np.array(w, np.float64) for name, w in weights.items()}

    def weights(self) -> dict[str, np.ndarray]:
        """Return a copy of the weights by name."""
        return {name: w.copy() for name, w in self._weights.items()}

    def dense(self, index: int, inputs: np.ndarray) -> np.ndarray:
        """Return the pre-activations of a layer."""
        W, b = self._weights[f"layers.{index}.W"], self._weights[f"layers.{index}.b"]
        return dense(np.asarray(inputs, np.float64), W, b)

    def dense_gradients(
        self, index: int, inputs: np.ndarray, dz: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return the derivatives with respect to the kernel and the bias of a layer."""
        return dense_gradient(inputs, dz)

    def dense_input_gradient(self, index: int, dz: np.ndarray) -> np.ndarray:
        """Return the derivative with respect to the inputs of a layer."""
        return dense_input_gradient(self._weights[f"layers.{index}.W"], dz)

    def activation(self, z: np.ndarray) -> np.ndarray:
        """Return the output of a hidden layer."""
        return relu(z)

    def activation_gradient(self, z: np.ndarray, da: np.ndarray) -> np.ndarray:
        """Return the derivative with respect to a hidden layer's pre-activations."""
        return relu_gradient(z, da)

    def probabilities(self, z: np.ndarray) -> np.ndarray:
        """Return the output of the last layer."""
        return softmax(z)

    def probabilities_gradient(self, z: np.ndarray, p: np.ndarray, dp: np.ndarray) -> np.ndarray:
        """Return the derivative with respect to the logits."""
        return softmax_gradient(p, dp)

    def layer_output(self, index: int, inputs: np.ndarray) -> np.ndarray:
        """Return what one layer makes of its inputs."""
        last = index == len(self._weights) // 2 - 1
        return (self.probabilities if last else self.activation)(self.dense(index, inputs))

    def losses(self, labels: np.ndarray, predictions: np.ndarray) -> np.ndarray:
        """Return the loss of each sample, in nats."""
        return loss(np.asarray(predictions, np.float64), labels, self.dtype)

    def losses_gradient(
        self, labels: np.ndarray, predictions: np.ndarray, dlosses: np.ndarray
    ) -> np.ndarray:
        """Return the derivative with respect to the predictions."""
        return loss_gradient(np.asarray(predictions, np.float64), labels, dlosses, self.dtype)

    def shares(self, samples: int) -> np.ndarray:
        """Return what each sample of a batch contributes to the average."""
        return np.full(samples, 1 / samples)

    def gradients(
        self, images: np.ndarray, labels: np.ndarray
    ) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        """Return the average loss of a batch, and its gradient with respect to each weight."""
        depth = len(self._weights) // 2
        inputs, pre = [np.asarray(images, np.float64)], []
        for index in range(depth - 1):
            pre.append(self.dense(index, inputs[-1]))
            inputs.append(self.activation(pre[-1]))
        logits = self.dense(depth - 1, inputs[-1])

        shares = self.shares(len(labels))
        p = self.probabilities(logits)
        if self.on_logits:
            losses = cross_entropy(logits, labels)
            dz = cross_entropy_gradient(logits, labels, shares)
        else:
            losses = self.losses(labels, p)
            dz = self.probabilities_gradient(logits, p, self.losses_gradient(labels, p, shares))

        terms = p / len(labels)  # of dz = (p - [k = label]) / batch, had nothing been clipped
        terms[np.arange(len(labels)), labels] += 1 / len(labels)
        gradients = {}
        for index in reversed(range(depth)):
            dW, db = self.dense_gradients(index, inputs[index], dz)
            gradients[f"layers.{index}.W"], gradients[f"layers.{index}.b"] = dW, db
            size = terms.sum(axis=0).max()
            self.scales[f"layers.{index}.b"] = size
            self.scales[f"layers.{index}.W"] = size * np.abs(inputs[index]).max()
            if index > 0:
                W = self._weights[f"layers.{index}.W"]
                dx = self.dense_input_gradient(index, dz)
                dz = self.activation_gradient(pre[index - 1], dx)
                terms = relu_gradient(pre[index - 1], dense_input_gradient(np.abs(W), terms))
        return np.asarray(losses @ shares), {name: gradients[name] for name in self._weights}

    def step(
        self, images: np.ndarray, labels: np.ndarray
    ) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        """Return what `gradients` does, and update the weights."""
        average_loss, gradients = self.gradients(images, labels)
        self.update(gradients)
        return average_loss, gradients

    def update(self, gradients: Mapping[str, np.ndarray]) -> None:
        """Apply the rule to each weight."""
        for name, w in self._weights.items():
            self.rule(name, w, gradients[name])

    def batches(self, samples: int, epochs: int, batch_size: int) -> Iterator[tuple[int, slice]]:
        """Yield the epoch and the place in the data set of each batch."""
        for epoch in range(epochs):
            for start in range(0, samples, batch_size):
                yield epoch, slice(start, min(start + batch_size, samples))

    def fit(
        self, images: np.ndarray, labels: np.ndarray, epochs: int, batch_size: int = 128
    ) -> np.ndarray:
        """Train in the order of the data set; return the average loss of each batch."""
        losses = []
        for epoch, batch in self.batches(len(images), epochs, batch_size):
            self.epoch = epoch
            losses.append(self.step(images[batch], labels[batch])[0])
        return np.array(losses)

    def first_example(self) -> "Oracle":
        """Return the oracle of the first example, which makes its own mistakes."""
        rate = float(np.dtype(self.dtype).type(1e-3))  # as Keras keeps it
        return Oracle(self.dtype, RMSprop(rate), on_logits=True)

    def fit_first_example(
        self, images: np.ndarray, labels: np.ndarray, epochs: int, batch_size: int = 128
    ) -> np.ndarray:
        """Train the first example from the weights, which change; return what `fit` does."""
        oracle = self.first_example()
        oracle.load_weights(self._weights)
        losses = oracle.fit(images, labels, epochs, batch_size)
        self._weights, self.scales = oracle.weights(), oracle.scales
        return losses

    def probabilities_of(self, images: np.ndarray) -> np.ndarray:
        """Return the output of the model."""
        x = np.asarray(images, np.float64)
        for index in range(len(self._weights) // 2):
            x = self.layer_output(index, x)
        return x

    def predict(self, images: np.ndarray) -> np.ndarray:
        """Return the most probable class of each image, the lowest one if several tie."""
        return self.probabilities_of(images).argmax(axis=1)

    def accuracy(self, images: np.ndarray, labels: np.ndarray) -> np.ndarray:
        """Return the fraction of the images whose label is predicted: a float64 scalar."""
        return np.mean(self.predict(images) == labels)


MakeOracle = Callable[..., Oracle]
"""Given a dtype and perhaps an update rule, returns an oracle: the right one or a hypothesis."""


def _bounds(dtype: str, epsilon: float) -> tuple[float, float]:
    kind = np.dtype(dtype).type
    return float(kind(epsilon)), float(kind(1 - epsilon))
