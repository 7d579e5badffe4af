"""One interface over the reference, the port and the oracle: NumPy arrays by name."""

import io
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stdout
from functools import partial
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from parity_tests.ladder.oracle import EPSILON


class PackageAdapter:
    """Either package as an `Implementation`.

    Args:
        sizes: Of the images and of the output of each layer.
        dtype: "float32" or "float64".
        update_weights: The update rule; by default the package's rule by hand.
        folder: Holds MNIST in MNIST/raw.
    """

    package_name: str

    def __init__(
        self,
        sizes: tuple[int, ...] = (784, 512, 10),
        dtype: str = "float32",
        update_weights: Callable | None = None,
        folder: Path = Path("data"),
    ) -> None:
        self.folder = folder
        self.name = self.package_name
        self.dtype = dtype
        self.sizes = sizes
        self.package = import_module(self.package_name)
        self.training, self.layers, self.evaluation, self.files, optimizers = (
            import_module(f"{self.package_name}.{module}")
            for module in ("training", "layers", "evaluation", "weights", "optimizers")
        )
        self.update_weights = update_weights or optimizers.update_weights
        relu, softmax = (layer.activation for layer in self.layers.mnist_model().layers)
        activations = [relu] * (len(sizes) - 2) + [softmax]
        self.model = self.layers.NaiveSequential(
            [
                self.layers.NaiveDense(*shape, activation, dtype=dtype)
                for *shape, activation in zip(sizes[:-1], sizes[1:], activations, strict=True)
            ]
        )

    def data(self) -> dict[str, np.ndarray]:
        """Return MNIST as the package loads it, by name."""
        sets = import_module(f"{self.package_name}.mnist").load_mnist(self.folder, self.dtype)
        return {
            f"{which} {what}": np.asarray(array)
            for which, pair in zip(("training", "test"), sets, strict=True)
            for what, array in zip(("images", "labels"), pair, strict=True)
        }

    def initial_weights(self, seed: int) -> dict[str, np.ndarray]:
        """Return the weights of the 784-512-10 model that a seed gives."""
        model = self.layers.mnist_model(seed, self.dtype)
        return {
            name: self.to_numpy(weight) for name, weight in self.files.named_weights(model).items()
        }

    def load_weights(self, weights: Mapping[str, np.ndarray]) -> None:
        """Replace the weights."""
        for name, weight in self.files.named_weights(self.model).items():
            self.assign(weight, weights[name])

    def weights(self) -> dict[str, np.ndarray]:
        """Return a copy of the weights."""
        return {
            name: np.array(self.to_numpy(weight))
            for name, weight in self.files.named_weights(self.model).items()
        }

    def layer_output(self, index: int, inputs: np.ndarray) -> np.ndarray:
        """Return what one layer makes of its inputs."""
        return self.to_numpy(self.model.layers[index](self.to_tensor(inputs)))

    def losses(self, labels: np.ndarray, predictions: np.ndarray) -> np.ndarray:
        """Return the loss of each sample, in nats."""
        losses = self.training.sparse_categorical_crossentropy(
            self.to_tensor(labels), self.to_tensor(predictions)
        )
        return self.to_numpy(losses)

    def losses_gradient(
        self, labels: np.ndarray, predictions: np.ndarray, dlosses: np.ndarray
    ) -> np.ndarray:
        """Return the derivative of a sum of losses, each times its dloss, by the predictions."""
        loss = partial(self.training.sparse_categorical_crossentropy, self.to_tensor(labels))
        return self.pullback(loss, [predictions], dlosses)[1][0]

    def gradients(
        self, images: np.ndarray, labels: np.ndarray
    ) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        """Return the average loss of a batch and its gradients; the weights stay."""
        return self._run(images, labels, lambda gradients, weights: None)

    def step(
        self, images: np.ndarray, labels: np.ndarray
    ) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        """Return what `gradients` does, and update the weights."""
        return self._run(images, labels, self.update_weights)

    def _run(
        self, images: np.ndarray, labels: np.ndarray, update_weights: Callable
    ) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        kept: list = []

        def keep_and_update(gradients: Sequence, weights: Sequence) -> None:
            kept.extend(gradients)
            update_weights(gradients, weights)

        loss = self.training.one_training_step(
            self.model, self.to_tensor(images), self.to_tensor(labels), keep_and_update
        )
        names = self.files.named_weights(self.model)
        return self.to_numpy(loss), dict(zip(names, map(self.to_numpy, kept), strict=True))

    def update(self, gradients: Mapping[str, np.ndarray]) -> None:
        """Apply the update rule to the weights."""
        names = self.files.named_weights(self.model)
        self.update_weights(
            [self.to_tensor(gradients[name]) for name in names], list(names.values())
        )

    def fit(
        self, images: np.ndarray, labels: np.ndarray, epochs: int, batch_size: int
    ) -> np.ndarray:
        """Train in the order of the data set; return the average loss of each batch."""
        return self._fit(
            partial(self.training.fit, self.model, update_weights=self.update_weights),
            images,
            labels,
            epochs,
            batch_size,
        )

    def fit_first_example(
        self, images: np.ndarray, labels: np.ndarray, epochs: int, batch_size: int
    ) -> np.ndarray:
        """Train the first example from the weights, which change; return what `fit` does."""
        with self.as_first_example() as first_example:
            loop = partial(first_example.fit, self.model)
            return self._fit(loop, images, labels, epochs, batch_size)

    @contextmanager
    def as_first_example(self) -> Iterator[ModuleType]:
        """Let the model be that of the first example, with the weights as they are."""
        first_example = import_module(f"{self.package_name}.first_example")
        weights, scratch = self.weights(), self.model
        self.package.use_dtype(self.dtype)
        self.model = first_example.mnist_model()
        self.load_weights(weights)
        try:
            yield first_example
            weights = self.weights()
        finally:
            self.model = scratch
            self.package.use_dtype("float32")
        self.load_weights(weights)

    def _fit(
        self, loop: Callable, images: np.ndarray, labels: np.ndarray, epochs: int, batch_size: int
    ) -> np.ndarray:
        losses: list[float] = []
        with redirect_stdout(io.StringIO()):
            loop(
                self.to_tensor(images),
                self.to_tensor(labels),
                epochs,
                batch_size,
                on_step=lambda epoch, batch, loss: losses.append(loss),
            )
        return np.array(losses, self.dtype)

    def predict(self, images: np.ndarray) -> np.ndarray:
        """Return the predicted class of each image."""
        return self.evaluation.predict(self.model, self.to_tensor(images))

    def accuracy(self, images: np.ndarray, labels: np.ndarray) -> np.ndarray:
        """Return the fraction of the images whose label is predicted: a float64 scalar."""
        return np.asarray(
            self.evaluation.evaluate(self.model, self.to_tensor(images), self.to_tensor(labels))
        )

    def primitives(self) -> dict[str, Callable]:
        """Return the functions that the network is made of, on the framework's tensors."""
        first, last = self.model.layers[0], self.model.layers[-1]
        return {"relu": first.activation, "softmax": last.activation, "dense": self._dense}

    def _dense(self, x: Any, W: Any, b: Any) -> Any:
        layer = self.layers.NaiveDense(1, 1, lambda z: z)
        layer.W, layer.b = W, b
        return layer(x)

    def pullback(
        self, function: Callable, inputs: Sequence[np.ndarray], cotangent: np.ndarray
    ) -> tuple[np.ndarray, list[np.ndarray]]:
        """Return the output of a function, and its derivatives times a cotangent.

        Args:
            function: On the framework's tensors.
            inputs: One for each argument.
            cotangent: The derivative of a scalar with respect to the output, of its shape.
        """
        raise NotImplementedError

    def to_tensor(self, array: np.ndarray) -> Any:
        """Return the framework's tensor of an array."""
        raise NotImplementedError

    def to_numpy(self, tensor: Any) -> np.ndarray:
        """Return the array of a tensor; it may share the tensor's memory."""
        raise NotImplementedError

    def assign(self, weight: Any, value: np.ndarray) -> None:
        """Change a weight in place."""
        raise NotImplementedError


class Reference(PackageAdapter):
    """`tf_reference`."""

    package_name = "tf_reference"

    def primitives(self) -> dict[str, Callable]:
        """Return the functions that the network is made of, on the framework's tensors."""
        tf = import_module("tensorflow")
        clip = partial(tf.clip_by_value, clip_value_min=EPSILON, clip_value_max=1 - EPSILON)
        return super().primitives() | {"clip": clip, "log": tf.math.log}

    def pullback(
        self, function: Callable, inputs: Sequence[np.ndarray], cotangent: np.ndarray
    ) -> tuple[np.ndarray, list[np.ndarray]]:
        """Return the output of a function, and its derivatives times a cotangent."""
        tensors = [self.to_tensor(array) for array in inputs]
        with import_module("tensorflow").GradientTape() as tape:
            tape.watch(tensors)
            output = function(*tensors)
        gradients = tape.gradient(output, tensors, output_gradients=self.to_tensor(cotangent))
        return self.to_numpy(output), [self.to_numpy(gradient) for gradient in gradients]

    def weights(self) -> dict[str, np.ndarray]:
        """Return a copy of the weights, as TensorFlow makes one of every variable."""
        return {
            name: weight.numpy() for name, weight in self.files.named_weights(self.model).items()
        }

    def to_tensor(self, array: np.ndarray) -> Any:
        """Return the framework's tensor of an array."""
        return import_module("tensorflow").constant(array)

    def to_numpy(self, tensor: Any) -> np.ndarray:
        """Return the array of a tensor; it may share the tensor's memory."""
        return tensor.numpy()

    def assign(self, weight: Any, value: np.ndarray) -> None:
        """Change a weight in place."""
        weight.assign(value)


class Port(PackageAdapter):
    """`torch_port`."""

    package_name = "torch_port"

    def primitives(self) -> dict[str, Callable]:
        """Return the functions that the network is made of, on the framework's tensors."""
        torch = import_module("torch")
        clip = partial(torch.clamp, min=EPSILON, max=1 - EPSILON)
        return super().primitives() | {"clip": clip, "log": torch.log}

    def pullback(
        self, function: Callable, inputs: Sequence[np.ndarray], cotangent: np.ndarray
    ) -> tuple[np.ndarray, list[np.ndarray]]:
        """Return the output of a function, and its derivatives times a cotangent."""
        tensors = [self.to_tensor(array).requires_grad_() for array in inputs]
        output = function(*tensors)
        gradients = import_module("torch").autograd.grad(output, tensors, self.to_tensor(cotangent))
        return self.to_numpy(output), [self.to_numpy(gradient) for gradient in gradients]

    def to_tensor(self, array: np.ndarray) -> Any:
        """Return the framework's tensor of an array."""
        return import_module("torch").as_tensor(array)

    def to_numpy(self, tensor: Any) -> np.ndarray:
        """Return the array of a tensor; it may share the tensor's memory."""
        return tensor.detach().cpu().numpy()

    def assign(self, weight: Any, value: np.ndarray) -> None:
        """Change a weight in place."""
        weight.data.copy_(self.to_tensor(value))
