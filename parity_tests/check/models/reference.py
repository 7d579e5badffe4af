"""A Keras model, as whoever asks it sees it: in a process of its own, or recorded."""

import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import closing, suppress
from multiprocessing import Pipe
from pathlib import Path
from typing import Any

import numpy as np

from parity_tests.check.messages import PortError, ProcessEnded, UnusablePort, decode, encode
from parity_tests.check.models.asking import STEPS
from parity_tests.check.quarters import Quarters
from parity_tests.program.files import check_input, check_outputs, write_whole
from parity_tests.program.messages import UserError

PACKAGE = Path(__file__).parents[2]
RECORDING = ".recording"
"""Ending of the name of a recording."""
LAST = 10_000
"""Bytes of the errors of a process, of which the last line is shown."""


class Reference:
    """A Keras model that answers.

    Attributes:
        path: Of its file, or of a recording.
        floatx: The dtype that it computes in.
        backend: Of Keras.
    """

    path: Path
    floatx: str
    backend: str

    def close(self) -> None:
        """Let go of it."""

    def send(
        self, method: str, arrays: Mapping[str, np.ndarray] | None = None, **options: Any
    ) -> None:
        """Ask a question, to be answered by `receive`."""
        raise NotImplementedError

    def receive(self) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        """Return the answer to the question that was asked."""
        raise NotImplementedError

    def ask(
        self, method: str, arrays: Mapping[str, np.ndarray] | None = None, **options: Any
    ) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        """Return the answer to a question, and its arrays."""
        self.send(method, arrays, **options)
        return self.receive()


class KerasProcess(Reference):
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
        paths = [str(packages), environment.get("PYTHONPATH", "")]
        environment |= {
            "TF_CPP_MIN_LOG_LEVEL": "3",
            "PYTHONPATH": os.pathsep.join(filter(None, paths)),
        }
        # Threads that spin while they wait slow another process on the same cores a hundredfold.
        environment |= {"OMP_WAIT_POLICY": "PASSIVE", "KMP_BLOCKTIME": "0"}
        module = ["parity_tests.check.keras.original", str(theirs.fileno()), floatx]
        module += [str(path.absolute()), str(data.absolute())]
        folder = str(self._quarters.folder)
        try:
            self._process = subprocess.Popen(
                [python, "-m", "parity_tests.check.containment", folder, *module],
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

    def _ended(self) -> ProcessEnded:
        self._process.wait()
        self._errors.seek(max(0, self._errors.seek(0, os.SEEK_END) - LAST))
        lines = self._errors.read().decode(errors="replace").splitlines() or ["no message"]
        return ProcessEnded(
            f"the process of {self.path} ended with exit status {self._process.returncode}: "
            f"{lines[-1]}"
        )


class Recording(Reference):
    """The answers of a Keras model that were recorded, where there is no Keras.

    Args:
        path: Of the recording.
        floatx: The dtype that the model computed in.
        backend: Of Keras, then.

    Raises:
        UnusablePort: If the file is no recording.
    """

    def __init__(self, path: Path, floatx: str, backend: str) -> None:
        self.path, self.floatx, self.backend = path, floatx, backend
        try:
            said, self._arrays = decode(path.read_bytes())
            self._answers = {key: dict(answer) for key, answer in said["answers"].items()}
        except (PortError, LookupError, AttributeError, TypeError, ValueError) as error:
            raise UnusablePort(f"{path} is no recording: make one with `record`") from error
        self._asked: tuple[str, dict[str, Any]] = "", {}

    def send(
        self, method: str, arrays: Mapping[str, np.ndarray] | None = None, **options: Any
    ) -> None:
        """Ask a question, to be answered by `receive`."""
        if method == "use_batches" or options.get("groups"):
            raise UnusablePort(
                f"{self.path} holds answers to its own batch, layer by layer: this port needs the "
                "file of the model"
            )
        options = {k: of for k, of in options.items() if k not in ("window", "groups")}
        if method == "train":
            options["steps"] = STEPS
        self._asked = method, options

    def receive(self) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        """Return the answer to the question that was asked.

        Raises:
            PortError: If it is not recorded, or was an error.
        """
        method, options = self._asked
        if method == "load_weights":  # which it had
            return {}, {}
        key = _key(self.floatx, self.backend, method, options)
        answer = self._answers.get(key)
        if answer is None:
            raise PortError(f"{self.path} holds no answer to {method} of {options}")
        if "error" in answer:
            raise PortError(str(answer["error"]))
        prefix = f"{key} "
        arrays = {
            n.removeprefix(prefix): a for n, a in self._arrays.items() if n.startswith(prefix)
        }
        return answer, arrays


def _key(floatx: str, backend: str, method: str, options: Mapping[str, Any]) -> str:
    return json.dumps([floatx, backend, method, options], sort_keys=True)


def record(
    reference: Path,
    /,
    *,
    output: Path,
    reference_python: str = sys.executable,
    limit: float = 600.0,
    data: Path = Path("data"),
) -> None:
    """Record what a Keras model answers, for a check where there is no TensorFlow.

    Recorded are its outputs and five steps of its training on its own batch, as it is and with each
    mistake that can be made in it.

    Args:
        reference: Python file with a Keras model, or a saved one.
        output: The recording, a file in .recording.
        reference_python: Interpreter that runs the file, and has Keras.
        limit: Seconds within which each answer must come.
        data: Folder that holds MNIST in MNIST/raw, for a file that would download it.
    """
    check_input(reference, "a file with a Keras model")
    if output.suffix != RECORDING:
        raise UserError(f"--output is {output}: expected a name in {RECORDING}")
    check_outputs([output], [reference])
    answers: dict[str, Any] = {}
    arrays: dict[str, np.ndarray] = {}
    weights: dict[str, np.ndarray] = {}
    for backend in ("tensorflow", "torch"):
        process = KerasProcess(reference, "float64", backend, reference_python, limit, data)
        with closing(process):
            if backend == "torch":
                process.ask("load_weights", weights)
                edits = []
            else:
                weights = process.ask("describe")[1]
                edits = [edit["name"] for edit in process.ask("edits")[0]["edits"]]
            for method, options in _questions(edits):
                key = _key("float64", backend, method, options)
                whole = {**options, **({"window": [0, 1_000_000]} if method == "trace" else {})}
                try:
                    answers[key], found = process.ask(method, **whole)
                except PortError as error:  # as where a mistake cannot be made
                    answers[key], found = {"error": str(error)}, {}
                arrays |= {f"{key} {name}": array for name, array in found.items()}
    write_whole(output, encode({"answers": answers}, arrays))


def _questions(edits: list[str]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield what is recorded: each question, and its options."""
    yield "describe", {}
    for apart in (True, False):
        yield "describe", {"apart": apart}
    for method in ("initial", "edits", "batch", "configs"):
        yield method, {}
    yield "trace", {"edits": [], "training": True, "marked": True}
    for made in ([], *([name] for name in edits)):
        for training in (False, True):
            yield "trace", {"edits": made, "training": training}
        yield "train", {"edits": made, "steps": STEPS}
    for name in edits:
        yield "shows", {"edit": name, "steps": STEPS}
