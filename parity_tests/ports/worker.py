"""The process that a user's port runs in: imports the file and does what it is asked."""

import contextlib
import importlib.util
import inspect
import io
import os
import sys
import traceback
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path
from types import ModuleType
from typing import Any, cast
from unittest import mock

import numpy as np

from parity_tests.ports.messages import NotObservable, UnusablePort, decode, encode

NAMES = ("layers.0.W", "layers.0.b", "layers.1.W", "layers.1.b")
SHAPES = ((784, 512), (512,), (512, 10), (10,))
STEPS = ("one_training_step", "training_step")


def serve(
    connection: Connection, path: str, dtype: str, device: str, folder: str
) -> None:  # pragma: no cover (in the other process)
    """Answer calls about the port in a file until the other end is closed."""
    os.setsid()  # a group of its own, so that what it starts ends with it
    os.environ.pop("PYTHONSAFEPATH", None)  # a setting of the server that forked it
    host = _Worker(Path(path), dtype, device, folder)
    while True:
        try:
            call, arrays = decode(connection.recv_bytes())
        except EOFError:
            return
        try:
            # What they print is not part of the answer.
            with contextlib.redirect_stdout(io.StringIO()):
                answer, found = getattr(host, call.pop("method"))(arrays, **call)
            message = encode(answer, found)
        except NotObservable as error:
            message = encode({"unseen": str(error)}, {})
        except Exception as error:  # noqa: BLE001 (whatever their file raises is the answer)
            message = encode({"error": _describe(error, path)}, {})
        connection.send_bytes(message)


def _describe(error: Exception, path: str) -> str:
    frames = reversed(traceback.extract_tb(error.__traceback__))
    line = next((frame.lineno for frame in frames if frame.filename == path), None)
    if isinstance(error, SyntaxError):
        line = error.lineno
    text = " ".join(str(error).split())
    kind = "" if isinstance(error, UnusablePort) else f"{type(error).__name__}: "
    return f"{kind}{text}" + (f" (line {line})" if line else "")


class _Worker:
    """Their module, their model, and how to use them."""

    def __init__(self, path: Path, dtype: str, device: str, folder: str) -> None:
        import torch

        self.torch = torch
        self.path, self.device, self.folder = path, device, folder
        self.dtype = getattr(torch, dtype)
        sys.path.insert(0, str(path.parent))
        self.known = set(sys.modules)

    def reset(self, arrays: dict) -> tuple[dict, dict]:
        spec = importlib.util.spec_from_file_location("their_port", self.path)
        if spec is None or spec.loader is None:
            raise UnusablePort(f"{self.path} is not a Python file")
        for name in sys.modules.keys() - self.known:  # of their own, with what these remember
            path = Path(getattr(sys.modules[name], "__file__", None) or "/")
            if path.is_relative_to(self.path.parent) and "site-packages" not in path.parts:
                del sys.modules[name]
        self.module = module = importlib.util.module_from_spec(spec)
        sys.modules["their_port"] = module
        spec.loader.exec_module(module)
        self.step_name = next((name for name in STEPS if callable(getattr(module, name, None))), "")
        if not self.step_name:
            raise UnusablePort(f"there is no function {' or '.join(STEPS)}(model, images, labels)")
        self.model = self._model(module)
        for name, tensor, shape in zip(NAMES, self.tensors, SHAPES, strict=True):
            if tuple(self._as_kernel(tensor).shape) != shape:
                found = tuple(tensor.shape)
                raise UnusablePort(f"{name} has shape {found}: expected {shape} or its transpose")
        self.first = self._named(self.tensors)
        for tensor in self.tensors:
            tensor.data = tensor.data.to(self.device, self.dtype)
        names = "load_mnist", "NaiveDense", "update_weights"
        able = [name for name in names if hasattr(module, name)]
        if "load_mnist" in able and "dtype" in inspect.signature(module.load_mnist).parameters:
            able.append("dtype of load_mnist")
        layers = getattr(self.model, "layers", ())
        if isinstance(self.model, getattr(module, "NaiveSequential", ())) and len(layers) == 2:
            able.append("NaiveSequential of two layers")
        return {"abilities": able}, {}

    def _model(self, module: ModuleType) -> Any:
        if hasattr(module, "model"):
            return module.model
        if hasattr(module, "NaiveDense") and hasattr(module, "NaiveSequential"):
            softmax = partial(self.torch.softmax, dim=-1)
            return module.NaiveSequential(
                [
                    module.NaiveDense(784, 512, self.torch.relu),
                    module.NaiveDense(512, 10, softmax),
                ]
            )
        classes = [
            value
            for value in vars(module).values()
            if inspect.isclass(value)
            and issubclass(value, self.torch.nn.Module)
            and value.__module__ == "their_port"
        ]
        if len(classes) != 1:
            raise UnusablePort(
                "there is no model: expected NaiveDense and NaiveSequential, one class of "
                f"torch.nn.Module (found {len(classes)}), or a variable `model`"
            )
        return classes[0]()

    @property
    def tensors(self) -> list:
        """The weights, asked for anew each time: a step may put others in their place."""
        model = self.model
        tensors = list(model.weights if hasattr(model, "weights") else model.parameters())
        if len(tensors) != len(NAMES):
            raise UnusablePort(f"the model has {len(tensors)} weights: expected {', '.join(NAMES)}")
        return tensors

    def _as_kernel(self, tensor: Any) -> Any:
        """Return a tensor as the book stores it: a kernel as (inputs, outputs)."""
        return tensor.T if tuple(tensor.shape) in ((512, 784), (10, 512)) else tensor

    def _input(self, array: np.ndarray) -> Any:
        return self.torch.as_tensor(array).to(self.device)

    def _to_numpy(self, tensor: Any) -> np.ndarray:
        if isinstance(tensor, self.torch.Tensor):
            tensor = tensor.detach().cpu().numpy()
        return np.array(tensor)

    def _named(self, tensors: list) -> dict[str, np.ndarray]:
        found = [self._to_numpy(self._as_kernel(tensor)) for tensor in tensors]
        return dict(zip(NAMES, found, strict=True))

    def data(self, arrays: dict) -> tuple[dict, dict]:
        load_mnist = self.module.load_mnist
        takes = inspect.signature(load_mnist).parameters
        dtype = str(self.dtype).removeprefix("torch.")
        options = {"dtype": dtype} if "dtype" in takes else {}
        sets = load_mnist(self.folder, **options) if takes else load_mnist()
        found = {
            f"{which} {what}": self._to_numpy(array)
            for which, pair in zip(("training", "test"), sets, strict=True)
            for what, array in zip(("images", "labels"), pair, strict=True)
        }
        return {}, found

    def load_weights(self, arrays: dict) -> tuple[dict, dict]:
        for name, tensor in zip(NAMES, self.tensors, strict=True):
            self._as_kernel(tensor.data).copy_(self._input(arrays[name]))
        return {}, {}

    def first_weights(self, arrays: dict) -> tuple[dict, dict]:
        return {}, self.first

    def weights(self, arrays: dict) -> tuple[dict, dict]:
        return {}, self._named(self.tensors)

    def layer_output(self, arrays: dict, index: int) -> tuple[dict, dict]:
        outputs = self.model.layers[index](self._input(arrays["inputs"]))
        return {}, {"outputs": self._to_numpy(outputs)}

    def step(self, arrays: dict) -> tuple[dict, dict]:
        tensors = self.tensors
        before = [tensor.detach().clone() for tensor in tensors]
        seen: dict[int, Any] = {}

        def see(index: int, gradient: Any) -> None:
            seen[index] = seen.get(index, 0) + gradient.detach().clone()

        def update_weights(gradients: Any, weights: Any, *arguments: Any, **options: Any) -> Any:
            for gradient, weight in zip(gradients, weights, strict=True):
                for index, tensor in enumerate(tensors):
                    if weight is tensor and index not in seen:
                        see(index, gradient)
            return cast(Any, right)(gradients, weights, *arguments, **options)

        step = getattr(self.module, self.step_name)
        owner = self._owner(step, "update_weights")
        right = getattr(owner, "update_weights", None)
        handles = [
            w.register_hook(partial(see, i)) for i, w in enumerate(tensors) if w.requires_grad
        ]
        try:
            # To which a gradient goes that was computed by hand.
            with mock.patch.object(owner, "update_weights", update_weights, create=True):
                loss = step(
                    self.model, self._input(arrays["images"]), self._input(arrays["labels"])
                )
        finally:
            for handle in handles:
                handle.remove()
        return {}, {"loss": self._loss(loss), **self._named(self._gradients(tensors, before, seen))}

    def _gradients(self, tensors: list, before: list, seen: dict[int, Any]) -> list:
        """Return the gradients of a step, from what was seen in it."""
        for index, (w, w_before) in enumerate(zip(self.tensors, before, strict=True)):
            if index not in seen and self.torch.equal(w, w_before):  # nothing reached it
                seen[index] = self.torch.zeros_like(w)
        if len(seen) < len(tensors):
            raise NotObservable("its gradients pass neither through autograd nor to update_weights")
        return [
            # With what was left of earlier steps, if there was no zero_grad.
            w.grad if w.grad is not None and w.grad.any() else seen[index]
            for index, w in enumerate(tensors)
        ]

    def _owner(self, function: Any, name: str) -> ModuleType:
        """Return the module in which a function of theirs looks a name up."""
        owner = sys.modules.get(getattr(function, "__module__", ""), self.module)
        return owner if hasattr(owner, name) else self.module

    def _loss(self, returned: Any) -> np.ndarray:
        if isinstance(returned, float):  # which has lost its dtype
            returned = self.torch.tensor(returned, dtype=self.dtype)
        if not isinstance(returned, self.torch.Tensor | np.ndarray | np.generic):
            kind = type(returned).__name__
            raise TypeError(f"{self.step_name} returned {kind}: expected the average loss")
        return self._to_numpy(returned)

    def gradients(self, arrays: dict) -> tuple[dict, dict]:
        before = [tensor.detach().clone() for tensor in self.tensors]
        answer = self.step(arrays)
        for tensor, w in zip(self.tensors, before, strict=True):
            tensor.data.copy_(w)
        return answer

    def update(self, arrays: dict) -> tuple[dict, dict]:
        gradients = [
            self._input(arrays[name]).T
            if self._as_kernel(w) is not w
            else self._input(arrays[name])
            for name, w in zip(NAMES, self.tensors, strict=True)
        ]
        with self.torch.no_grad():  # which their step may bring
            self.module.update_weights(gradients, self.tensors)
        return {}, {}

    def fit(self, arrays: dict, epochs: int, batch_size: int) -> tuple[dict, dict]:
        losses = []
        right = getattr(self.module, self.step_name)

        def step(*arguments: Any, **options: Any) -> Any:
            loss = right(*arguments, **options)
            losses.append(self._loss(loss))
            return loss

        def loop(model: Any, images: Any, labels: Any, epochs: int, batch_size: int) -> None:
            for _ in range(epochs):
                if hasattr(self.module, "BatchGenerator"):
                    batches = self.module.BatchGenerator(images, labels, batch_size)
                    for _ in range(batches.num_batches):
                        step(model, *batches.next())
                    continue
                for start in range(0, len(images), batch_size):
                    batch = slice(start, start + batch_size)
                    step(model, images[batch], labels[batch])

        fit = getattr(self.module, "fit", loop)
        images, labels = self._input(arrays["images"]), self._input(arrays["labels"])
        with mock.patch.object(self._owner(fit, self.step_name), self.step_name, step):
            fit(self.model, images, labels, epochs, batch_size)
        if not losses:
            raise LookupError(f"fit never called {self.step_name}: its losses cannot be seen")
        return {}, {"losses": np.array(losses)}

    def predict(self, arrays: dict) -> tuple[dict, dict]:
        with self.torch.no_grad():
            outputs = self.model(self._input(arrays["images"]))
        return {}, {"labels": np.argmax(self._to_numpy(outputs), axis=1)}
