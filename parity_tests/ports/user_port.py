"""A user's port as an implementation: its file runs in a process of its own."""

import contextlib
import multiprocessing
import os
import signal
from collections.abc import Mapping
from dataclasses import dataclass
from multiprocessing import forkserver
from pathlib import Path
from typing import Any, cast
from unittest import mock

import numpy as np

from parity_tests.ladder.oracle import softmax
from parity_tests.ports.matching import Matching
from parity_tests.ports.messages import (
    NotObservable,
    PortError,
    ProcessEnded,
    UnusablePort,
    decode,
    encode,
)
from parity_tests.ports.quarters import Quarters, without_secrets
from parity_tests.ports.worker import serve

LARGEST_MESSAGE = 4_000_000_000
"""Bytes of an answer that is read at all: MNIST in float64 has a tenth of it."""

WHERE = {"run": "when it was run", "outputs": "in its model", "step": "in its training step"}
WHERE |= {
    "loop": "in its loop",
    "why_no_loop": "in its loop",
    "data": "in load_mnist",
    "layer_output": "in a layer",
    "trace": "in its model",
    "unit_output": "in a layer",
    "steps": "in its training step",
    "brought": "in batch()",
}


class Process:
    """A file that runs in a process of its own.

    Args:
        path: Of the file.
        device: Where its tensors lie.
        model: The name of its model, if it is given.
        step: The name of its training step, if it is given.
        sizes: Of the network, where the file makes none and it has to be built.
        beside_keras: Whether the file is the port of some Keras model, not of the book's.
        limit: Seconds within which a call must be answered; that of a loop, times its epochs.

    Attributes:
        held: What the file holds: "models", "step", "notes" and "names".

    Raises:
        UnusablePort: If the file cannot be run, or has no model or no step.
    """

    def __init__(
        self,
        path: Path,
        device: str = "cpu",
        model: str | None = None,
        step: str | None = None,
        sizes: tuple[int, ...] = (784, 512, 10),
        limit: float = 120.0,
        beside_keras: bool = False,
    ) -> None:
        self.path = path
        self.limit = limit
        self.sessions = 0
        # Each file's process is forked from a server that has imported torch with its optimizers.
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload(["torch", "torch._dynamo"])
        # It must not import what lies in the current folder, such as somebody's random.py, and
        # its threads must not spin while they wait: that slows other processes on the same cores.
        settings = {"PYTHONSAFEPATH": "1", "OMP_WAIT_POLICY": "PASSIVE"}
        server = {**without_secrets(dict(os.environ)), **settings}
        with mock.patch.dict(os.environ, server, clear=True):
            forkserver.ensure_running()
        self._quarters = Quarters(path)
        self._connection, theirs = context.Pipe()
        options: dict[str, Any] = {"model": model, "step": step, "sizes": list(sizes)}
        options["beside_keras"] = beside_keras
        environment = {**self._quarters.environment, **settings}
        place = str(path.absolute()), self._quarters.folder, environment
        self._process = context.Process(target=serve, args=(theirs, *place, device, options))
        self._process.start()
        theirs.close()
        try:
            self.held, _ = self.ask("run")
        except BaseException as error:  # a signal, too, that comes while the file is run
            self.close()
            if isinstance(error, PortError | ProcessEnded):
                raise UnusablePort(str(error)) from error
            raise

    def close(self) -> None:
        """End the process, and those that it started."""
        self._connection.close()
        self._process.join(10)  # which has what watches over it end them all
        with contextlib.suppress(ProcessLookupError):  # before it had a group, or after its end
            os.killpg(cast(int, self._process.pid), signal.SIGKILL)
        self._process.kill()
        self._process.join()
        self._quarters.close()

    def ask(
        self, method: str, arrays: Mapping[str, np.ndarray] | None = None, **options: Any
    ) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        """Return the answer to a question, and its arrays.

        Raises:
            PortError: If what was asked raised an error.
            ProcessEnded: If the process has ended, or did not answer in time.
            NotObservable: If what was asked for cannot be seen.
        """
        where = WHERE.get(method, "where its weights are set")
        limit = self.limit * options.get("epochs", 1)
        try:
            self._connection.send_bytes(encode({"method": method, **options}, arrays or {}))
            if not self._connection.poll(min(limit, 2e6)):  # what poll can count in ms
                self.close()
                raise ProcessEnded(
                    f"{self.path} took more than {limit:g} s {where}: does it loop for ever, or "
                    "train for long? --limit allows more"
                )
            message = self._connection.recv_bytes(LARGEST_MESSAGE)
        except (EOFError, OSError) as error:
            self._process.join(5)
            status = self._process.exitcode
            raise ProcessEnded(
                f"{self.path} ended its process {where}, with exit status {status}"
            ) from error
        try:
            answer, found = decode(message)
        except PortError as error:
            self.close()
            raise ProcessEnded(f"{self.path} was ended {where}: {error}") from error
        if "unseen" in answer:
            raise NotObservable(answer["unseen"])
        if "unusable" in answer:
            raise UnusablePort(f"{self.path}: {answer['unusable']}")
        if "error" in answer:
            raise PortError(f"{self.path} raised an error {where}: {answer['error']}")
        return answer, found

    def begin(self, seed: int, dropout: bool) -> int:
        """Begin a session: what the file holds is as it was after its run. Return its number."""
        self.sessions += 1
        self.ask("begin", new=self.sessions, seed=seed, dropout=dropout)
        return self.sessions


@dataclass(frozen=True)
class Usage:
    """How a file is used.

    Attributes:
        dtype: Of the weights and the images that it is given.
        matching: Of its weights.
        model_form: In which its model takes images; None if it does not take them alone.
        step_form: In which its step takes images.
        output: What its model returns: "probabilities", "logits" or "log-probabilities".
        layers: How many layers it has that can be asked one by one.
        sees_loss: Whether its loss can be seen.
        sees_gradients: Whether its gradients can be seen.
        returns_other: Whether its step returns another number than its loss.
        strange: Whether its optimizer holds none of its weights.
        makes_optimizer: Whether the file makes the optimizer that its step takes.
        dropout: Whether it drops out; False if that was switched off.
        folder: Holds MNIST in MNIST/raw.
        own_loop: Whether its own loop is used, not one that takes a step after the other.
    """

    dtype: str
    matching: Matching
    model_form: str | None = None
    step_form: str = ""
    output: str = "probabilities"
    layers: int = 0
    sees_loss: bool = True
    sees_gradients: bool = True
    returns_other: bool = False
    strange: bool = False
    makes_optimizer: bool = True
    dropout: bool = True
    folder: Path = Path("data")
    own_loop: bool = True


class UserPort:
    """What a file does in one session, as an `Implementation`.

    Args:
        process: Of the file.
        usage: How it is used.
        seed: Of the random numbers of the file.
    """

    name = "port"

    def __init__(self, process: Process, usage: Usage, seed: int = 0) -> None:
        self.usage = usage
        self.dtype, self.sizes = usage.dtype, usage.matching.sizes
        self._process = process
        self._session = process.begin(seed, usage.dropout)

    def _ask(self, method: str, arrays: Any = None, **options: Any) -> Any:
        return self._process.ask(method, arrays, session=self._session, **options)

    def data(self) -> tuple[dict[str, np.ndarray], bool]:
        """Return MNIST as their `load_mnist` loads it, by name, and whether it takes a dtype."""
        said, found = self._ask("data", folder=str(self.usage.folder.absolute()))
        return found, said["dtype"]

    def load_weights(self, weights: Mapping[str, np.ndarray]) -> None:
        """Replace the weights."""
        self._ask("load_weights", self.usage.matching.to_port(weights))

    def first_weights(self) -> dict[str, np.ndarray]:
        """Return the weights that the model had when it was made."""
        return self.usage.matching.from_port(self._ask("first_weights")[1])

    def weights(self) -> dict[str, np.ndarray]:
        """Return the weights."""
        return self.usage.matching.from_port(self._ask("weights")[1])

    def outputs(self, images: np.ndarray) -> np.ndarray:
        """Return the probabilities that the model gives, or those of its logits."""
        if self.usage.model_form is None:
            raise NotObservable("its model cannot be called with images alone")
        answer = self._ask("outputs", {"images": images}, form=self.usage.model_form)
        return self._probabilities(answer[1]["outputs"])

    def _probabilities(self, outputs: np.ndarray) -> np.ndarray:
        if self.usage.output == "logits":
            return softmax(outputs)
        return np.exp(outputs) if self.usage.output == "log-probabilities" else outputs

    def layer_output(self, index: int, inputs: np.ndarray) -> np.ndarray:
        """Return what one layer makes of its inputs."""
        outputs = self._ask("layer_output", {"inputs": inputs}, index=index)[1]["outputs"]
        return self._probabilities(outputs) if index == len(self.sizes) - 2 else outputs

    def gradients(
        self, images: np.ndarray, labels: np.ndarray
    ) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        """Return the loss and the gradients of their step; the weights are put back."""
        if not self.usage.sees_gradients and self.dtype == "float32":
            raise NotObservable("its gradients cannot be seen, and float32 rounds updates too much")
        weights = self._ask("weights")[1]
        answer = self.step(images, labels)
        self._ask("load_weights", weights)
        return answer

    def step(
        self, images: np.ndarray, labels: np.ndarray
    ) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        """Return the loss and the gradients of their step, which updates the weights.

        Gradients that cannot be seen are taken from what the step does to the weights, given
        that the learning rate is right. A loss that cannot be seen is NaN.
        """
        before = {} if self.usage.sees_gradients else self.weights()
        found = self.take_step(images, labels)[1]
        loss = found.pop("", np.full((), np.nan, self.dtype))
        if self.usage.sees_gradients:
            return loss, self.usage.matching.from_port(found)
        after = self.weights()
        return loss, {name: (w - after[name]) / 1e-3 for name, w in before.items()}

    def take_step(
        self, images: np.ndarray, labels: np.ndarray
    ) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        """Take a step; return what is said of it, and what was seen, by the port's own names."""
        batch = {"images": images, "labels": labels}
        said, found = self._ask("step", batch, form=self.usage.step_form)
        return said, found

    def fit(
        self, images: np.ndarray, labels: np.ndarray, epochs: int, batch_size: int
    ) -> np.ndarray:
        """Run their loop; return the loss of each batch."""
        arrays = {"images": images, "labels": labels}
        options: dict[str, Any] = {"epochs": epochs, "batch_size": batch_size}
        options |= {"form": self.usage.step_form, "own": self.usage.own_loop}
        return self._ask("loop", arrays, **options)[1]["losses"]

    def why_no_loop(self, images: np.ndarray, labels: np.ndarray) -> tuple[str, bool]:
        """Return why the loop cannot be judged, or "", and whether it is given its batches."""
        batch = {"images": images, "labels": labels}
        said, _ = self._ask("why_no_loop", batch, form=self.usage.step_form)
        return said["why"], said.get("given batches", False)

    def predict(self, images: np.ndarray) -> np.ndarray:
        """Return the class of the largest output of their model for each image."""
        return np.argmax(self.outputs(images), axis=1)

    def accuracy(self, images: np.ndarray, labels: np.ndarray) -> np.ndarray:
        """Return the fraction of the images whose label is predicted: a float64 scalar."""
        return np.mean(self.predict(images) == labels)
