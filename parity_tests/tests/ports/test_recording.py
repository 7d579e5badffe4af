"""Recordings: they stand in for TensorFlow, and what is not whole is refused."""

import json
import sys

import numpy as np
import pytest

from parity_tests.ports.recording import record
from parity_tests.tests.ports.sources import BOOK


@pytest.fixture
def no_tensorflow(monkeypatch):
    """Hide TensorFlow from this process; that of the port imports none in any case."""
    monkeypatch.setitem(sys.modules, "tensorflow", None)
    monkeypatch.setitem(sys.modules, "tf_reference.framework", None)


def test_a_recording_stands_in_for_tensorflow(check, recording, request):
    for dtype in ("float32", "float64"):  # made while TensorFlow is there
        recording(dtype)
    request.getfixturevalue("no_tensorflow")
    status, out, err = check(BOOK, "--recording", recording("float32"))
    assert (status, out.count("pass\n")) == (0, 6), err
    wrong = BOOK.replace("g * 1e-3", "g * 1e-2")
    status, out, _ = check(wrong, "--recording", recording("float32"))
    assert status == 1
    assert "explained by: rate of 1e-2" in out


@pytest.mark.soak
def test_a_recording_of_a_whole_epoch_stands_in_for_tensorflow(check, data, tmp_path, request):
    record(tmp_path / "recording", data=data, dtype="float32", epochs=1)
    request.getfixturevalue("no_tensorflow")
    status, out, err = check(BOOK, "--recording", tmp_path / "recording", epochs=1)
    assert (status, out.count("pass\n")) == (0, 7), err


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("recording.json", lambda b: b.replace(b'"format": 3', b'"format": 2'), "is of format 2"),
        ("recording.json", lambda b: b[:100], "is not the index of a recording"),
        ("recording.json", lambda b: b"\xff" + b, "is not the index of a recording"),
        ("recording.json", lambda b: b'{"format": 3}', "is not the index of a recording"),
        ("answers.safetensors", lambda b: b[:-1], "is truncated or altered"),
        ("answers.safetensors", lambda b: b[:-1] + bytes([b[-1] ^ 1]), "is truncated or altered"),
        ("answers.safetensors", None, "is missing"),
        (
            "recording.json",
            lambda b: b.replace(b'"gradients ', b'"guesses '),
            "is not the index of a recording",
        ),
        (
            "recording.json",
            lambda b: json.dumps(json.loads(b) | {"answers": {}}).encode(),
            "the recording was made by another ladder",
        ),
    ],
)
def test_a_recording_that_is_not_whole_is_refused(
    check, recording, tmp_path, name, change, message
):
    folder = tmp_path / "recording"
    folder.mkdir()
    for path in recording("float32").iterdir():
        if path.name != name:
            (folder / path.name).symlink_to(path)
        elif change is not None:
            (folder / name).write_bytes(change(path.read_bytes()))
    status, _, err = check(BOOK, "--recording", str(folder))
    assert status == 2
    assert message in err


def test_a_recording_can_be_read_with_numpy_alone(recording):
    folder = recording("float32")
    content = (folder / "answers.safetensors").read_bytes()
    length = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + length])
    index = json.loads((folder / "recording.json").read_text())
    first = next(key for key in index["answers"] if key.startswith("gradients"))
    entry = header[f"{first}/layers.1.b"]
    start, end = entry["data_offsets"]
    gradient = np.frombuffer(content[8 + length + start : 8 + length + end], "float32")
    assert gradient.shape == tuple(entry["shape"]) == (10,)
    assert abs(gradient.sum()) < 1e-6
