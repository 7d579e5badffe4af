"""The process of a stranger's program, as whoever asks it sees it."""

import contextlib
import multiprocessing
import os
import signal
import sys
from collections.abc import Mapping
from importlib import import_module
from multiprocessing import forkserver
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from types import ModuleType
from typing import Any, cast
from unittest import mock

import numpy as np

from parity_tests.check.messages import (
    NotObservable,
    PortError,
    ProcessEnded,
    UnusablePort,
    decode,
    encode,
)
from parity_tests.check.quarters import Quarters, without_secrets
from parity_tests.program.messages import UserError

LARGEST_MESSAGE = 4_000_000_000
"""Bytes of an answer that is read at all: MNIST in float64 has a tenth of it."""


SETTINGS = {
    "PYTHONSAFEPATH": "1",  # nothing in the current folder is imported, such as a random.py
    "OMP_NUM_THREADS": "1",  # a process that is forked must not have a pool of threads
    "OPENBLAS_NUM_THREADS": "1",
    "MPLBACKEND": "Agg",
    "TORCHDYNAMO_DISABLE": "1",
    "CUDA_VISIBLE_DEVICES": "",
}
"""Of the environment of a program, and of the server that its process is forked from."""


def start_server(*preloaded: str) -> None:
    """Start the server of processes that have imported torch, unless it runs.

    Args:
        *preloaded: Other modules that each process has imported.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["parity_tests.check.guest.guest", *preloaded])
    server = {**without_secrets(dict(os.environ)), **SETTINGS}
    with mock.patch.dict(os.environ, server, clear=True):
        forkserver.ensure_running()


def serve(*arguments: Any) -> None:  # pragma: no cover (in the other process)
    """Run a program, in a process that has imported torch."""
    import_module("parity_tests.check.guest.guest").serve(*arguments)


class Contained:
    """A process of a stranger's file, as whoever asks it sees it: how it is read, and ended."""

    path: Path
    _connection: Connection
    _process: BaseProcess
    _quarters: Quarters

    def close(self) -> None:
        """End the process, and those that it started."""
        self._connection.close()
        self._process.join(10)  # which has what watches over it end them all
        with contextlib.suppress(ProcessLookupError):  # before it had a group, or after its end
            os.killpg(cast(int, self._process.pid), signal.SIGKILL)
        self._process.kill()
        self._process.join()
        self._quarters.close()

    def _read(
        self, limit: float, where: str, why: str
    ) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        """Return what the process says next.

        Args:
            limit: Seconds within which it must.
            where: It is, for a message.
            why: It may take long, besides a loop that never ends.

        Raises:
            ProcessEnded: If it has ended, said what is no message, or did not answer in time.
        """
        try:
            if not self._connection.poll(min(limit, 2e6)):  # what poll can count in ms
                self.close()
                raise ProcessEnded(
                    f"{self.path} took more than {limit:g} s {where}: does it loop for ever, or "
                    f"{why}? --limit allows more"
                )
            message = self._connection.recv_bytes(LARGEST_MESSAGE)
        except (EOFError, OSError) as error:
            self._process.join(5)
            status = self._process.exitcode
            raise ProcessEnded(
                f"{self.path} ended its process {where}, with exit status {status}"
            ) from error
        try:
            return decode(message)
        except PortError as error:
            self.close()
            raise ProcessEnded(f"{self.path} was ended {where}: {error}") from error


class Process(Contained):
    """A program that runs, watched, in a process of its own.

    Args:
        path: Of the program.
        data: Holds MNIST in MNIST/raw.
        double: Whether float32 stands for float64 in all that it computes.
        of_keras: Whether it is the port of a Keras model, and not of the book's network.
        model: The name of its model, if it is given.
        step: The name of its training step, if it is given.
        limit: Seconds within which it must come to its training, and answer each question.

    Attributes:
        mnist: Images as bytes, of shape (samples, 784), and labels, by name.
        waits: Where it waits: "at" is "pass", before the first forward pass of its training, or
            "end", where it trains nothing when it is run.

    Raises:
        UnusablePort: If it cannot be run, or comes to an end that cannot be judged.
    """

    def __init__(
        self,
        path: Path,
        data: Path,
        *,
        double: bool = True,
        of_keras: bool = False,
        model: str | None = None,
        step: str | None = None,
        limit: float = 120.0,
    ) -> None:
        self.path, self.limit, self.double = path, limit, double
        start_server()
        context = multiprocessing.get_context("forkserver")
        self._quarters = Quarters(path)
        self._connection, theirs = context.Pipe()
        self.data = data
        options = {"data": str(data.absolute()), "double": double, "model": model, "step": step}
        options |= {"of_keras": of_keras}
        environment = {**self._quarters.environment, **SETTINGS}
        place = str(path.absolute()), self._quarters.folder, environment
        self._process = context.Process(target=serve, args=(theirs, *place, options))
        # Without a name of the main program, which would be run once more in the process.
        with mock.patch.dict(sys.modules, {"__main__": ModuleType("__main__")}):
            self._process.start()
        theirs.close()
        self.waits: dict[str, Any] = {}
        try:
            if not of_keras:
                said, self.mnist = self._receive("before it was run")
                if "missing" in said:
                    raise UserError(said["missing"])
            self.waits = self._receive("when it was run")[0]
        except BaseException as error:  # a signal, too, that comes while the file is run
            self.close()
            if isinstance(error, PortError | ProcessEnded):
                raise UnusablePort(str(error)) from error
            raise

    def go_on(self, to: int) -> None:
        """Let the program run to another forward pass, by its number, or to its end."""
        self._send("go on", to=to)
        self.waits = self._receive("when it was run")[0]

    def call(self, arrays: Mapping[str, np.ndarray], drive: Mapping[str, Any]) -> None:
        """Call what a file defines, and let it run to the first forward pass."""
        self._send("go on", arrays, drive=drive)
        self.waits = self._receive(f"in {drive['name']}")[0]
        self.waits |= {"called": drive["name"], "given": len(arrays.get("images", ()))}

    def ask(
        self,
        steps: int,
        arrays: Mapping[str, np.ndarray] | None = None,
        *,
        times: float = 1.0,
        **options: Any,
    ) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        """Return what a copy of the program does from where it waits.

        Args:
            steps: How many it may take.
            arrays: Weights, by their identity; and data, where the program is driven.
            times: How often the limit of time is allowed.
            **options: "still", "brief", "named", "last" and "drive".

        Raises:
            PortError: If it raised an error.
            ProcessEnded: If the process has ended, or did not answer in time.
            NotObservable: If what was asked for cannot be seen.
        """
        self._send("ask", arrays, steps=steps, **options)
        drive = options.get("drive")
        where = f"in {drive['name']}" if drive else "in its training"
        said, found = self._receive(where, times)
        if "died" in said:
            raise PortError(f"{self.path} ended its process {where}, with status {said['died']}")
        if said["unseen"]:
            raise NotObservable(said["ended"])
        if said["error"] and not said["steps"]:
            raise PortError(f"{self.path} raised an error {where}: {said['ended']}")
        return said, found

    def _send(self, method: str, arrays: Any = None, **options: Any) -> None:
        try:
            self._connection.send_bytes(encode({"method": method, **options}, arrays or {}))
        except OSError as error:
            raise ProcessEnded(f"the process of {self.path} has ended") from error

    def _receive(
        self, where: str, times: float = 1.0
    ) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        said, found = self._read(self.limit * times, where, "wait for somebody")
        if "unusable" in said:
            named = "" if self.path.name in said["unusable"] else f"{self.path}: "
            raise UnusablePort(f"{named}{said['unusable']}")
        if said.get("at") == "error":
            raise PortError(f"{self.path} raised an error {where}: {said['error']}")
        return said, found
