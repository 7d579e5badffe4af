"""A user's port as an implementation: its file runs in a process of its own."""

import contextlib
import multiprocessing
import os
import signal
from collections.abc import Mapping
from multiprocessing import forkserver
from pathlib import Path
from typing import Any, cast
from unittest import mock

import numpy as np

from parity_tests.ports.messages import (
    NotObservable,
    PortError,
    ProcessEnded,
    UnusablePort,
    decode,
    encode,
)
from parity_tests.ports.worker import serve


class UserPort:
    """A file with a port in it, as an `Implementation`.

    Args:
        path: Of a Python file with the book's names, or with a `torch.nn.Module` and a step
            function; it is run as it is.
        dtype: Of the weights and the images that it is given.
        device: Where its tensors lie.
        folder: Holds MNIST in MNIST/raw.
        limit: Seconds within which a call must be answered; that of `fit`, times its epochs.

    Attributes:
        abilities: What the file has beyond a model and a step: "load_mnist", that with a
            "dtype of load_mnist", "NaiveDense", a "NaiveSequential of two layers" and
            "update_weights".

    Raises:
        UnusablePort: If the file cannot be run, lacks names, or its weights have other shapes.
    """

    name = "port"

    def __init__(
        self,
        path: Path,
        dtype: str = "float64",
        device: str = "cpu",
        folder: Path = Path("data"),
        limit: float = 120.0,
    ) -> None:
        self.path = path
        self.dtype = dtype
        self.limit = limit
        # Each port is forked from a server that has imported torch once, and nothing else.
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload(["torch"])
        # It must not import what lies in the current folder, such as somebody's random.py.
        with mock.patch.dict(os.environ, PYTHONSAFEPATH="1"):
            forkserver.ensure_running()
        self._connection, theirs = context.Pipe()
        arguments = (theirs, str(path.absolute()), dtype, device, str(folder))
        self._process = context.Process(target=serve, args=arguments)
        self._process.start()
        theirs.close()
        self.abilities: list[str] = []
        try:
            self.reset()
        except PortError as error:
            self.close()
            raise UnusablePort(str(error)) from error

    def reset(self) -> "UserPort":
        """Run the file anew, so that nothing is left of earlier calls."""
        self.abilities = self._ask("reset")[0]["abilities"]
        return self

    def close(self) -> None:
        """End the process, and those that it started."""
        self._connection.close()
        with contextlib.suppress(ProcessLookupError):  # before it had a group, or after its end
            os.killpg(cast(int, self._process.pid), signal.SIGKILL)
        self._process.kill()
        self._process.join()

    def _ask(
        self, method: str, arrays: Mapping[str, np.ndarray] | None = None, **options: Any
    ) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        what = {"reset": "its import"}.get(method, method)
        limit = self.limit * options.get("epochs", 1)
        try:
            self._connection.send_bytes(encode({"method": method, **options}, arrays or {}))
            if not self._connection.poll(limit):
                self.close()
                raise ProcessEnded(
                    f"{self.path} did not come back from {what} within {limit:g} s: "
                    "does it loop for ever?"
                )
            answer, found = decode(self._connection.recv_bytes())
        except (EOFError, OSError) as error:
            self._process.join(5)
            status = self._process.exitcode
            raise ProcessEnded(
                f"{self.path} ended its process in {what}, with exit status {status}"
            ) from error
        if "unseen" in answer:
            raise NotObservable(answer["unseen"])
        if "error" in answer:
            raise PortError(f"{self.path} in {what}: {answer['error']}")
        return answer, found

    def data(self) -> dict[str, np.ndarray]:
        """Return MNIST as their `load_mnist` loads it, by name."""
        return self._ask("data")[1]

    def load_weights(self, weights: Mapping[str, np.ndarray]) -> None:
        """Replace the weights."""
        self._ask("load_weights", weights)

    def first_weights(self) -> dict[str, np.ndarray]:
        """Return the weights that the model had when it was made."""
        return self._ask("first_weights")[1]

    def weights(self) -> dict[str, np.ndarray]:
        """Return the weights."""
        return self._ask("weights")[1]

    def layer_output(self, index: int, inputs: np.ndarray) -> np.ndarray:
        """Return what one layer makes of its inputs."""
        return self._ask("layer_output", {"inputs": inputs}, index=index)[1]["outputs"]

    def gradients(
        self, images: np.ndarray, labels: np.ndarray
    ) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        """Return the loss and the gradients of their step; the weights are put back."""
        found = self._ask("gradients", {"images": images, "labels": labels})[1]
        return found.pop("loss"), found

    def step(
        self, images: np.ndarray, labels: np.ndarray
    ) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        """Return the loss and the gradients of their step, which updates the weights."""
        found = self._ask("step", {"images": images, "labels": labels})[1]
        return found.pop("loss"), found

    def update(self, gradients: Mapping[str, np.ndarray]) -> None:
        """Apply their `update_weights` to the weights."""
        self._ask("update", gradients)

    def fit(
        self, images: np.ndarray, labels: np.ndarray, epochs: int, batch_size: int
    ) -> np.ndarray:
        """Run their `fit`, or their step batch by batch; return what their step returned."""
        arrays = {"images": images, "labels": labels}
        return self._ask("fit", arrays, epochs=epochs, batch_size=batch_size)[1]["losses"]

    def predict(self, images: np.ndarray) -> np.ndarray:
        """Return the class of the largest output of their model for each image."""
        return self._ask("predict", {"images": images})[1]["labels"]

    def accuracy(self, images: np.ndarray, labels: np.ndarray) -> np.ndarray:
        """Return the fraction of the images whose label is predicted: a float64 scalar."""
        return np.mean(self.predict(images) == labels)
