"""Every reader, given what Hypothesis makes of a right file: it reads it, or says what is wrong.

`make search` tries twenty thousand of each in place of a few, and `make fuzz` searches for the
branches of the same readers.
"""

import contextlib
import copy
import functools
import json
import tempfile

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import save

from parity_tests.program.frameworks import FRAMEWORKS
from parity_tests.tests.fuzz import harness, keras_content, targets

pytestmark = pytest.mark.usefixtures("folder")

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
    return json.dumps(document).encode()


@pytest.fixture(scope="module")
def folder():
    """A folder that is the current one meanwhile, and in which nothing may appear."""
    with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
        yield


@functools.cache
def fuzzed(name):
    """Return a target of the fuzzer, and the function that has its reader read."""
    target = targets.targets()[name]
    return target, target.make()


def read(name, content):
    """Have a reader read some bytes: what it refuses, it refuses in a sentence."""
    harness.execute(*fuzzed(name), content)


in_both_packages = pytest.mark.parametrize("package", FRAMEWORKS)


@in_both_packages
@given(content=edited(targets.WEIGHTS))
def test_weights(package, content):
    read(f"weights, {package}", content)


@in_both_packages
@given(content=st.deferred(lambda: edited(targets.checkpoint_seeds()[0])) | restated(targets.STATE))
def test_checkpoints(package, content):
    read(f"checkpoints, {package}", content)


@given(held=edited(b'{"a": 1}\n'), length=st.integers(0, 20) | st.integers(0, 2**64 - 1))
def test_run_logs(held, length):
    read("run logs", length.to_bytes(8, "little") + held)


@in_both_packages
@given(content=edited(b"\0" + targets.IMAGES) | edited(b"\1" + targets.LABELS))
def test_idx_files(package, content):
    read(f"IDX files, {package}", content)


@given(content=edited(targets.NOTEBOOK) | restated(json.loads(targets.NOTEBOOK)))
def test_notebooks(content):
    read("notebooks", content)


@pytest.mark.filterwarnings("ignore::SyntaxWarning", "ignore::DeprecationWarning")
@given(
    content=edited(b"# -*- coding: utf-8 -*-\ndef step(x):\n    return [(x + 1) * {2: '3'}[2]]\n")
    | edited(targets.PYTHON)
    | st.sampled_from(
        [b"(" * 10**5, b"-" * 10**5 + b"1", b"x" + b"[0]" * 10**4, b"1" + b"+1" * 10**4]
    )
    | st.sampled_from([b"x = '''\\N{" + b"a" * 10**5, b"\xff\xfe" * 9, b"\x00", b"9" * 10**5])
)
def test_python_files(content):
    read("Python files", content)


@given(
    content=edited(targets.MESSAGE)
    | JSON.map(lambda call: save({}, {"call": json.dumps(call)}))
    | st.just(save({}, {"call": "[" * 10**5}))
)
def test_messages_of_a_port(content):
    read("messages of a port", content)


WORDS = [
    "train",
    "evaluate",
    "gradients",
    "notebook",
    "torch",
    "tf",
    "--epochs",
    "--log",
    "--shuffle",
    "--no-shuffle",
    "-h",
]
WORDS += ["--initial-weights=x", "--dtype", "float32", "1", "-1", "nan", "", "--", "=", "--epochs="]


@settings(max_examples=50)
@given(arguments=st.lists(st.sampled_from(WORDS) | st.text(max_size=9), max_size=6))
def test_command_lines(arguments):
    read("command lines", "\0".join(arguments).encode())


KERAS = {".keras files": "model.keras", ".weights.h5 files": "model.weights.h5"}
EDITS = st.lists(st.tuples(st.integers(0, 3999), st.integers(0, 255)), min_size=1, max_size=4)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", KERAS)
@settings(max_examples=10)
@given(edits=EDITS)
def test_keras_files(name, edits):
    read(name, with_bytes(keras_content.keras_file(KERAS[name]), edits))


@pytest.mark.soak
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", KERAS)
@settings(max_examples=2000)
@given(edits=EDITS)
def test_many_keras_files(name, edits):
    read(name, with_bytes(keras_content.keras_file(KERAS[name]), edits))


def with_bytes(content, edits):
    """Return a file some of whose first and last 2,000 bytes, which describe it, are others."""
    changed = bytearray(content)
    for place, byte in edits:
        changed[place if place < 2000 else place - 4000] = byte
    return bytes(changed)
