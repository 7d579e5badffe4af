"""The readers that are fuzzed: what each is given, and what must hold of what it makes of it.

A target takes any bytes. It ends normally if the reader reads them, or refuses them in a sentence.
Content that begins with a brace stands for the JSON inside of a right file, since hardly any
mutation of a whole file leaves its lengths and checksums right.
"""

import contextlib
import functools
import hashlib
import json
import os
import struct
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any
from unittest import mock

import numpy as np
import safetensors.numpy

from parity_tests.__main__ import COMMANDS
from parity_tests.check import messages, source
from parity_tests.check.process import Process
from parity_tests.model_files import load_model
from parity_tests.program.checkpoints import FORMAT, Checkpoints
from parity_tests.program.command_line import parse
from parity_tests.program.frameworks import PACKAGES, Framework, Twin
from parity_tests.program.run_log import RunLog
from parity_tests.tests.fuzz import keras_content
from parity_tests.tests.fuzz.harness import Target, file


def safetensors_file(content: bytes) -> bytes:
    """Return a safetensors file; of JSON, one that has it as its header."""
    if content.startswith(b"{"):
        return struct.pack("<Q", len(content)) + content + bytes(32)
    return content


def small_model(twin: Twin) -> Any:
    """Return a model of one layer."""
    rng = np.random.default_rng(0)
    return twin.layers.NaiveSequential([twin.layers.NaiveDense(3, 2, lambda x: x, rng=rng)])


ARRAYS = {"layers.0.W": np.ones((3, 2), "float32"), "layers.0.b": np.ones(2, "float32")}
WEIGHTS = safetensors.numpy.save(ARRAYS)


def header_of(content: bytes) -> bytes:
    """Return the JSON of a safetensors file."""
    return content[8 : 8 + int.from_bytes(content[:8], "little")]


def weights(framework: Framework) -> Callable[[bytes], None]:
    """Read weights: all of a file's are taken, and finite, or none."""
    twin = Twin(framework)
    module = twin.weights
    model = small_model(twin)
    before = module.weights_sha256(model)

    def read(content: bytes) -> None:
        with file("w.safetensors", safetensors_file(content)) as path:
            try:
                module.load_weights(model, path)
            except (ValueError, OSError):
                assert module.weights_sha256(model) == before
                raise
        values = module.named_weights(model).values()
        assert all(np.isfinite(np.asarray(value.detach() if hasattr(value, "detach") else value))
                   .all() for value in values)  # fmt: skip
        model.layers[:] = small_model(twin).layers

    return read


STATE: dict[str, Any] = {
    "format": FORMAT,
    "package": "torch_port",
    "versions": {"python": "3"},
    "options": {"epochs": 2, "seed": 0},
    "progress": {
        **{"epoch": 1, "batch": 2, "total_loss": 1.5, "matches": 9, "initial_sha256": "00"},
    },
    "log": {"bytes": 3, "sha256": "00"},
}


@functools.cache
def checkpoint_seeds() -> tuple[bytes, bytes]:
    """Return a checkpoint as the program writes it, and what it says."""
    twin = Twin("torch")
    held = held_in(twin, Path())
    with mock.patch.object(twin.framework, "versions", return_value=STATE["versions"]):
        held.save(twin.weights.named_weights(small_model(twin)), STATE["progress"], STATE["log"])
    (path,) = held.files()
    content = path.read_bytes()
    path.unlink()
    return content, json.dumps(STATE).encode()


def held_in(twin: Twin, folder: Path) -> Checkpoints:
    """Return the checkpoints of a folder, which is not locked."""
    held = object.__new__(Checkpoints)
    held.twin, held.folder, held.options = twin, folder, STATE["options"]
    return held


def checkpoints(framework: Framework) -> Callable[[bytes], None]:
    """Read checkpoints: one is taken as it was written, or not at all.

    Of JSON, a file is made that has it as what a checkpoint says, but not the SHA-256 of that.
    """
    twin = Twin(framework)
    tensors = twin.weights.named_weights(small_model(twin))

    def read(content: bytes) -> None:
        right = twin.weights.serialized(tensors)
        if content.startswith(b"{"):
            metadata = {"checkpoint": content.decode("utf-8", "replace"), "sha256": "00"}
            content = safetensors.numpy.save(ARRAYS, metadata)
        with file("0000001-0000002.safetensors", content):
            try:
                state = held_in(twin, Path()).load(tensors, other_framework=True)
            except (ValueError, OSError):
                assert twin.weights.serialized(tensors) == right
                raise
        assert state == STATE

    return read


def run_logs() -> Callable[[bytes], None]:
    """Read a run log, to go on with it: it keeps what was written until then, and no more.

    The first eight bytes are the length that the checkpoint says; the first bit, whether its
    SHA-256 is right.
    """

    def read(content: bytes) -> None:
        length = int.from_bytes(content[:8], "little") % 2**60
        held = content[8:]
        right = hashlib.sha256(held[:length]).hexdigest()
        state = {"bytes": length, "sha256": right if content[:1] < b"\x80" else "00"}
        with file("run.jsonl", held) as path:
            try:
                log = RunLog(path, state)
            except ValueError:
                assert path.read_bytes() == held
                raise
            log.record(loss=1.5)
            log.close()
            assert path.read_bytes() == held[:length] + b'{"loss": 1.5}\n'
            assert length <= len(held)

    return read


def sources(name: str) -> Callable[[bytes], None]:
    """Read a port, and look for its training steps."""

    def read(content: bytes) -> None:
        with file(name, content) as path:
            list(source.steps(source.parse(path)))

    return read


def guest_messages() -> Callable[[bytes], None]:
    """Read what a port's process sends."""

    def read(content: bytes) -> None:
        if content.startswith(b"{"):
            content = safetensors.numpy.save({}, {"call": content.decode("utf-8", "replace")})
        call, arrays = messages.decode(content)
        assert isinstance(call, dict)
        assert all(isinstance(array, np.ndarray) for array in arrays.values())

    return read


def command_lines() -> Callable[[bytes], None]:
    """Read a command line, whose words are divided by zero bytes."""
    commands = {name: of for name, of in COMMANDS.items() if of[0].startswith("program.")}

    def read(content: bytes) -> None:
        words = [os.fsdecode(word) for word in content.split(b"\0")]
        with contextlib.suppress(SystemExit):  # of help
            parse(words, "naive-parity", commands)

    return read


def idx_files(framework: Framework) -> Callable[[bytes], None]:
    """Read MNIST's files, of which the first byte says which one is replaced by the rest.

    In place of MNIST's four files stand four of two pictures each, with their own SHA-256.
    """
    mnist = Twin(framework).mnist
    contents = dict(zip(mnist.FILES, [IMAGES, LABELS] * 2, strict=True))
    digests = {name: hashlib.sha256(whole).hexdigest() for name, whole in contents.items()}

    def read(content: bytes) -> None:
        name = [*contents][(content or b"\0")[0] % 4]
        with contextlib.ExitStack() as stack:
            held = {**contents, name: content[1:]}
            for other, whole in held.items():
                path = Path("MNIST/raw", other)
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(whole)
                stack.callback(path.unlink)
            stack.enter_context(mock.patch.dict(mnist.FILES, digests))
            try:
                loaded = mnist.load_mnist(Path())
            finally:
                stack.close()
                Path("MNIST/raw").rmdir()
                Path("MNIST").rmdir()
        assert [tuple(array.shape) for pair in loaded for array in pair] == [(2, 784), (2,)] * 2
        assert held == contents

    return read


IMAGES = struct.pack(">4i", 0x803, 2, 28, 28) + bytes(2 * 28 * 28)
LABELS = struct.pack(">2i", 0x801, 2) + bytes([3, 9])


def keras_files(name: str) -> Callable[[bytes], None]:
    """Read the first example's model; JSON is the configuration in a file that is right."""
    right = keras_content.keras_file("model.keras")

    def read(content: bytes) -> None:
        if content.startswith(b"{"):
            content = keras_content.with_configuration(right, content)
        with file(name, content) as path:
            load_model(path)

    return read


def users_files() -> Callable[[bytes], None]:
    """Run a port in a process of its own."""

    def read(content: bytes) -> None:
        # The port's process would import the fuzzer, which is the main module.
        main = mock.patch.dict(sys.modules, __main__=ModuleType("__main__"))
        with file("port.py", content) as path, main:
            Process(path, Path("data"), of_keras=True, limit=5).close()

    return read


CELLS = [
    {"cell_type": "code", "source": ["%time\n", "x = 1\n", "def step(x): x.backward()\n"]},
    {"cell_type": "markdown", "source": "text"},
]
NOTEBOOK = json.dumps({"cells": CELLS, "nbformat": 4}).encode()
PYTHON = b"# -*- coding: utf-8 -*-\ndef step(m, x):\n    for y in x:\n        m(y).backward()\n"
PORT = b"""import torch
model = torch.nn.Sequential(torch.nn.Linear(5, 4), torch.nn.Linear(4, 4))
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
criterion = torch.nn.MSELoss()
"""
MESSAGE = messages.encode({"method": "step"}, {"images": np.zeros((2, 3))})
WORDS = (
    b"train\0torch\0--epochs\x002\0--log\0x.jsonl\0--shuffle",
    b"train\0tf\0--dtype\0float32\0--no-shuffle",
    b"evaluate\0torch\0--weights\0w.safetensors\0--data=x",
    b"notebook\0tf\0book.ipynb\0--batch-size\x0060000",
    b"gradients\0-h",
)


def targets() -> dict[str, Target]:
    """Return the targets by name."""
    unusable, unanswered = (messages.UnusablePort,), (messages.PortError,)
    found: dict[str, Target] = {}
    for framework, (package, _) in PACKAGES.items():
        of_package: dict[str, tuple[Callable, Callable[[], tuple[bytes, ...]], int]] = {
            "weights": (weights, lambda: (WEIGHTS, header_of(WEIGHTS)), 80_000),
            "checkpoints": (checkpoints, checkpoint_seeds, 80_000),
            "IDX files": (idx_files, lambda: (b"\0" + IMAGES, b"\1" + LABELS), 40_000),
        }
        for name, (make, seeds, executions) in of_package.items():
            made = functools.partial(make, framework)
            found[f"{name}, {package}"] = Target(made, seeds, executions)
    notebooks, files = (functools.partial(sources, f"port.{end}") for end in ("ipynb", "py"))
    keras, h5 = (functools.partial(keras_files, f"model{end}") for end in (".keras", ".weights.h5"))
    networked = ("socket.connect",)  # to the server that forks the processes of ports
    return found | {
        "run logs": Target(run_logs, lambda: (struct.pack("<Q", 9) + b'{"a": 1}\n',), 100_000),
        "command lines": Target(command_lines, lambda: WORDS, 2_000),
        "messages of a port": Target(
            guest_messages, lambda: (MESSAGE, b'{"method": "step"}'), 320_000, unanswered
        ),
        "notebooks": Target(notebooks, lambda: (NOTEBOOK,), 120_000, unusable),
        "Python files": Target(files, lambda: (PYTHON, PORT), 50_000, unusable),
        ".keras files": Target(
            keras, lambda: (keras_content.small_zip(), keras_content.configuration()), 3_000
        ),
        ".weights.h5 files": Target(h5, lambda: (keras_content.small_h5(),), 6_000),
        "ports that are run": Target(users_files, lambda: (PORT,), 100, unusable, networked),
    }
