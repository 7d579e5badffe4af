"""A Keras model in a process of its own, in a dtype and on a backend of its own."""

import os
import signal
import subprocess
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from multiprocessing import Pipe
from pathlib import Path
from typing import Any

import numpy as np

from parity_tests.check.guest.quarters import Quarters
from parity_tests.check.messages import PortError, ProcessEnded, UnusablePort, decode, encode

PACKAGE = Path(__file__).parents[2]
LAST = 10_000
"""Bytes of the errors of a process, of which the last line is shown."""


class KerasProcess:
    """The process of a Keras model.

    Args:
        path: Of its file.
        floatx: The dtype that it computes in.
        backend: Of Keras.
        python: The interpreter, which has Keras, this backend, NumPy and safetensors.
        limit: Seconds within which a call must be answered.
        data: Holds MNIST in MNIST/raw, for a file that would download it.
    """

    def __init__(
        self,
        path: Path,
        floatx: str,
        backend: str,
        python: str,
        limit: float = 600.0,
        data: Path = Path("data"),
    ) -> None:
        self.path, self.floatx, self.backend, self.limit = path, floatx, backend, limit
        self._connection, theirs = Pipe()
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115 (closed with the process)
        self._quarters = Quarters(path)
        environment = {**self._quarters.environment, "KERAS_BACKEND": backend}
        # Only this package is lent to the interpreter, not what is installed beside it.
        packages = self._quarters.folder / "packages"
        packages.mkdir()
        (packages / PACKAGE.name).symlink_to(PACKAGE, target_is_directory=True)
        environment |= {"TF_CPP_MIN_LOG_LEVEL": "3", "PYTHONPATH": str(packages)}
        # Threads that spin while they wait slow another process on the same cores a hundredfold.
        environment |= {"OMP_WAIT_POLICY": "PASSIVE", "KMP_BLOCKTIME": "0"}
        module = ["parity_tests.check.keras.original", str(theirs.fileno()), floatx]
        module += [str(path.absolute()), str(data.absolute())]
        folder = str(self._quarters.folder)
        try:
            self._process = subprocess.Popen(
                [python, "-m", "parity_tests.check.guest.containment", folder, *module],
                env=environment,
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=self._errors,
            )
        except OSError as error:
            raise UnusablePort(f"{python} cannot be run: {error.strerror}") from error
        theirs.close()

    def close(self) -> None:
        """End the process, and those that it started."""
        self._connection.close()
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(10)  # which has what watches over it end them all
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.kill()
        self._process.wait()
        self._errors.close()
        self._quarters.close()

    def send(
        self, method: str, arrays: Mapping[str, np.ndarray] | None = None, **options: Any
    ) -> None:
        """Ask a question, to be answered by `receive`."""
        try:
            self._connection.send_bytes(encode({"method": method, **options}, arrays or {}))
        except OSError as error:
            raise self._ended() from error

    def receive(self) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        """Return the answer to the question that was asked.

        Raises:
            UnusablePort: If the file is no model that can be judged.
            PortError: If the file raised an error.
            ProcessEnded: If the process has ended, or did not answer in time.
        """
        if not self._connection.poll(min(self.limit, 2e6)):
            self._process.terminate()  # or its late answer would be taken for the next one
            raise ProcessEnded(
                f"{self.path} took more than {self.limit:g} s: does it loop for ever? --limit "
                "allows more"
            )
        try:
            answer, found = decode(self._connection.recv_bytes())
        except (EOFError, OSError) as error:
            raise self._ended() from error
        if "unusable" in answer:
            raise UnusablePort(f"{self.path}: {answer['unusable']}")
        if "error" in answer:
            raise PortError(f"{self.path} raised an error: {answer['error']}")
        return answer, found

    def ask(
        self, method: str, arrays: Mapping[str, np.ndarray] | None = None, **options: Any
    ) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        """Return the answer to a question, and its arrays."""
        self.send(method, arrays, **options)
        return self.receive()

    def _ended(self) -> ProcessEnded:
        self._process.wait()
        self._errors.seek(max(0, self._errors.seek(0, os.SEEK_END) - LAST))
        lines = self._errors.read().decode(errors="replace").splitlines() or ["no message"]
        return ProcessEnded(
            f"the process of {self.path} ended with exit status {self._process.returncode}: "
            f"{lines[-1]}"
        )
