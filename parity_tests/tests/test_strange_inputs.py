"""Every reader, given what Hypothesis makes of a right file: it reads it, or says what is wrong.

`make search` tries twenty thousand of each in place of a few, and `make fuzz` searches for the
branches of the readers.
"""

import contextlib
import copy
import functools
import importlib
import io
import json
import os
import sys
import tempfile
from pathlib import Path
from unittest import mock

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import save

import tf_reference
from parity_tests.ports import messages, recording, source
from parity_tests.ports.messages import PortError, UnusablePort
from parity_tests.tests.fuzz import harness, targets

PACKAGES = ["tf_reference", "torch_port"]

JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=5)
    | st.sampled_from([-1, 10**30, "float32", "layers.0.W", [], {}, float("nan")]),
    lambda children: (
        st.lists(children, max_size=3) | st.dictionaries(st.text(max_size=5), children, max_size=3)
    ),
    max_leaves=5,
)


@st.composite
def edited(draw, content):
    """Return bytes with a few of them replaced, left out, repeated or added."""
    for _ in range(draw(st.integers(1, 4))):
        start = draw(st.integers(0, len(content)))
        end = min(start + draw(st.sampled_from([0, 1, 2, 8, 64, 10**9])), len(content))
        new = draw(st.binary(max_size=9) | st.just(content[start:end] * 2) | st.just(b"[" * 5000))
        content = content[:start] + new + content[end:]
    return content


@st.composite
def restated(draw, document):
    """Return a JSON document in which some values are of another kind, absent or new."""
    document = copy.deepcopy(document)
    for _ in range(draw(st.integers(1, 3))):
        item = document
        while isinstance(item, dict | list) and item:
            keys = list(item) if isinstance(item, dict) else list(range(len(item)))
            key = draw(st.sampled_from(keys))
            if not isinstance(item[key], dict | list) or draw(st.booleans()):
                if draw(st.booleans()):
                    item[key] = draw(JSON)
                else:
                    del item[key]
                break
            item = item[key]
    return document


@pytest.fixture(scope="module", autouse=True)
def folder():
    """A folder that is the current one meanwhile, and in which nothing may appear."""
    with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
        yield Path(folder)


def read(path, content, reader, refusals=(ValueError, OSError)):
    """Let a reader read a file; what it refuses, it refuses in a sentence, and writes nothing."""
    path = Path(path)
    path.write_bytes(content)
    try:
        reader(path)
    except refusals as error:
        said = str(error)
    else:
        said = "read"
    assert 0 < len(said) < 2000
    assert os.listdir() == [path.name]
    path.unlink()


def small_model(name):
    package = importlib.import_module(name)
    rng = np.random.default_rng(0)
    return package.NaiveSequential([package.NaiveDense(3, 2, lambda x: x, rng=rng)])


WEIGHTS = save(
    {"layers.0.W": np.ones((3, 2), "float32"), "layers.0.b": np.ones(2, "float32")},
)


@pytest.mark.parametrize("name", PACKAGES)
@given(content=edited(WEIGHTS))
def test_weights(name, content):
    model = small_model(name)
    load_weights = importlib.import_module(name).load_weights
    read("w.safetensors", content, lambda path: load_weights(model, path))


STATE = {
    "format": 1,
    "package": "torch_port",
    "versions": {"python": "3"},
    "options": {"epochs": 2, "seed": 0},
    "progress": {
        **{"epoch": 1, "batch": 2, "samples": 0, "matches": 0},
        **{"total_loss": 1.5, "initial_sha256": "00"},
    },
    "log": {"bytes": 3, "sha256": "00"},
    "sha256": "00",
}
CHECKPOINT = save({"layers.0.b": np.ones(2, "float32")}, {"checkpoint": json.dumps(STATE)})


@pytest.mark.parametrize("name", PACKAGES)
@given(
    content=edited(CHECKPOINT)
    | restated(STATE).map(
        lambda state: save({"layers.0.b": np.ones(2, "float32")}, {"checkpoint": json.dumps(state)})
    )
)
def test_checkpoints(name, content):
    checkpoint = importlib.import_module(f"{name}.checkpoint")
    tensors = importlib.import_module(f"{name}.weights").named_weights(small_model(name))
    folder = mock.Mock(spec=["glob"])
    checkpoints = object.__new__(checkpoint.Checkpoints)
    checkpoints.folder, checkpoints.options = folder, STATE["options"]

    def load(path):
        folder.glob.return_value = [path]
        with contextlib.redirect_stderr(io.StringIO()):
            checkpoints.load({"layers.0.b": tensors["layers.0.b"]}, steps=3, other_framework=True)

    read("0-0.safetensors", content, load)


@functools.cache
def fuzzed(name):
    """Return a target of the fuzzer, and the function that has its reader read."""
    target = targets.targets()[name]
    return target, target.make()


@pytest.mark.parametrize("name", PACKAGES)
@given(held=edited(b'{"a": 1}\n'), length=st.integers(0, 20) | st.integers(0, 2**64 - 1))
def test_run_logs(name, held, length):
    content = length.to_bytes(8, "little") + held
    harness.execute(*fuzzed(f"run logs, {name}"), content)


@pytest.mark.parametrize("name", PACKAGES)
@given(content=edited(b"\0" + targets.IMAGES) | edited(b"\1" + targets.LABELS))
def test_idx_files(name, content):
    harness.execute(*fuzzed(f"IDX files, {name}"), content)


INDEX = {
    **{"format": 3, "sha256": "00", "versions": {}, "dtype": "float32", "sizes": [784, 32, 10]},
    **{"epochs": 0, "answers": {"predict 1": [""], "weights 2": ["layers.0.W"]}},
}


@given(
    index=restated(INDEX).map(lambda index: json.dumps(index).encode())
    | edited(json.dumps(INDEX).encode()),
    answers=edited(save({"predict 1/": np.zeros(3, "int64")})),
    right=st.booleans(),
)
def test_recordings(index, answers, right):
    if right:
        found = recording.hashlib.sha256(answers).hexdigest()
        index = index.replace(b'"sha256": "00"', f'"sha256": "{found}"'.encode())
    folder = Path("recording")
    folder.mkdir()
    for name, content in zip(recording.FILES, (answers, index), strict=True):
        (folder / name).write_bytes(content)
    with contextlib.suppress(ValueError, OSError):
        recording.Recording(folder)
    for name in recording.FILES:
        (folder / name).unlink()
    folder.rmdir()
    assert os.listdir() == []


CELLS = [
    {"cell_type": "code", "source": ["%time\n", "x = 1\n"]},
    {"cell_type": "markdown", "source": "text"},
]
NOTEBOOK = {"cells": CELLS, "nbformat": 4}


@given(
    content=edited(json.dumps(NOTEBOOK).encode())
    | restated(NOTEBOOK).map(lambda notebook: json.dumps(notebook).encode())
)
def test_notebooks(content):
    read("port.ipynb", content, source.parse, UnusablePort)


@pytest.mark.filterwarnings("ignore::SyntaxWarning", "ignore::DeprecationWarning")
@given(
    content=edited(b"# -*- coding: utf-8 -*-\ndef step(x):\n    return [(x + 1) * {2: '3'}[2]]\n")
    | st.sampled_from(
        [b"(" * 10**5, b"-" * 10**5 + b"1", b"x" + b"[0]" * 10**4, b"1" + b"+1" * 10**4]
    )
    | st.sampled_from([b"x = '''\\N{" + b"a" * 10**5, b"\xff\xfe" * 9, b"\x00", b"9" * 10**5])
)
def test_python_files(content):
    read("port.py", content, source.parse, UnusablePort)


MESSAGE = messages.encode({"method": "step"}, {"images": np.zeros((2, 3))})


@given(
    content=edited(MESSAGE)
    | JSON.map(lambda call: save({}, {"call": json.dumps(call)}))
    | st.just(save({}, {"call": "[" * 10**5}))
)
def test_messages_of_a_port(content):
    with contextlib.suppress(PortError):
        call, _ = messages.decode(content)
        assert isinstance(call, dict)


WORDS = ["train", "evaluate", "gradients", "--epochs", "--log", "--shuffle", "--no-shuffle", "-h"]
WORDS += ["--initial-weights=x", "--dtype", "float32", "1", "-1", "nan", "", "--", "=", "--epochs="]


@pytest.mark.parametrize("name", PACKAGES)
@settings(max_examples=50)
@given(arguments=st.lists(st.sampled_from(WORDS) | st.text(max_size=9), max_size=6))
def test_command_lines(name, arguments):
    main = importlib.import_module(f"{name}.__main__")
    command_line = importlib.import_module(f"{name}.command_line")
    commands = {"train": main.train, "evaluate": main.evaluate, "gradients": main.gradients}
    said = io.StringIO()
    with (
        mock.patch.object(sys, "argv", ["program", *arguments]),
        contextlib.redirect_stderr(said),
        contextlib.redirect_stdout(io.StringIO()),
    ):
        try:
            command_line.parse(commands, "program")
        except (ValueError, SystemExit) as error:  # of help
            answer = str(error)
        else:
            answer = "read"
    assert 0 < len(answer) < 2000
    assert said.getvalue() == ""
    assert os.listdir() == []


@pytest.fixture(scope="module")
def keras_files(tmp_path_factory):
    """The content of a Keras model and of its weights, as right files."""
    folder = tmp_path_factory.mktemp("keras")
    model = tf_reference.first_example.mnist_model(seed=0)
    contents = {}
    for name in ("model.keras", "model.weights.h5"):
        tf_reference.first_example.save_model(model, folder / name)
        contents[name] = (folder / name).read_bytes()
    return contents


def edit_keras_file(content, edit):
    """Return a file whose first and last bytes, which describe it, are edited."""
    ends = content[:2000] + content[-2000:]
    changed = edit(ends)
    return changed[: len(changed) // 2] + content[2000:-2000] + changed[len(changed) // 2 :]


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", ["model.keras", "model.weights.h5"])
@settings(max_examples=10)
@given(edits=st.lists(st.tuples(st.integers(0, 3999), st.integers(0, 255)), min_size=1, max_size=4))
def test_keras_files(keras_files, name, edits):
    strange_keras_file(keras_files[name], name, edits)


@pytest.mark.soak
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", ["model.keras", "model.weights.h5"])
@settings(max_examples=2000)
@given(edits=st.lists(st.tuples(st.integers(0, 3999), st.integers(0, 255)), min_size=1, max_size=4))
def test_many_keras_files(keras_files, name, edits):
    strange_keras_file(keras_files[name], name, edits)


def strange_keras_file(content, name, edits):
    def edit(ends):
        changed = bytearray(ends)
        for place, byte in edits:
            changed[place] = byte
        return bytes(changed)

    content = edit_keras_file(content, edit)
    read(name, content, tf_reference.first_example.load_model, ValueError)
