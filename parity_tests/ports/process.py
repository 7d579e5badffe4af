"""The process in which a port of a Keras model is called, as whoever asks sees it."""

import contextlib
import multiprocessing
import os
from collections.abc import Mapping
from importlib import import_module
from multiprocessing import forkserver
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np

from parity_tests.check.guest.quarters import Quarters, without_secrets
from parity_tests.check.messages import (
    NotObservable,
    PortError,
    ProcessEnded,
    UnusablePort,
    encode,
)
from parity_tests.check.process import Contained

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


def serve(*arguments: Any) -> None:  # pragma: no cover (in the other process)
    """Answer calls about a port, in a process that has imported torch."""
    import_module("parity_tests.ports.worker").serve(*arguments)


class Process(Contained):
    """A file that runs in a process of its own.

    Args:
        path: Of the file.
        device: Where its tensors lie.
        model: The name of its model, if it is given.
        step: The name of its training step, if it is given.
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
        limit: float = 120.0,
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
        options: dict[str, Any] = {"model": model, "step": step}
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
        with contextlib.suppress(OSError):  # which the answer tells as well
            self._connection.send_bytes(encode({"method": method, **options}, arrays or {}))
        answer, found = self._read(limit, where, "train for long")
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
