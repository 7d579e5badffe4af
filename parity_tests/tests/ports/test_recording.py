"""Recordings: they stand in for TensorFlow, and what is not whole is refused."""

import hashlib
import json
import sys

import numpy as np
import pytest
from safetensors.numpy import load_file, save

from parity_tests.__main__ import main
from parity_tests.ports.recording import record
from parity_tests.tests.ports.sources import BOOK


@pytest.fixture
def no_tensorflow(monkeypatch):
    """Hide TensorFlow from this process; that of the port imports none in any case."""
    monkeypatch.setitem(sys.modules, "tensorflow", None)
    monkeypatch.setitem(sys.modules, "tf_reference.framework", None)


def test_a_recording_stands_in_for_tensorflow(check, recording, request):
    for dtype in ("float32", "float64"):  # made while TensorFlow is there
        recording(dtype, (32,))  # as `check` asks for it
    request.getfixturevalue("no_tensorflow")
    status, out, err = check(BOOK, "--recording", recording("float32", (32,)))
    assert (status, out.count("pass\n")) == (0, 6), err
    wrong = BOOK.replace("g * 1e-3", "g * 1e-2")
    status, out, _ = check(wrong, "--recording", recording("float32", (32,)))
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
        ("recording.json", lambda b: b[:100], "cannot be read: Unterminated string"),
        ("recording.json", lambda b: b"\xff" + b, "cannot be read: 'utf-8' codec can't decode"),
        ("recording.json", lambda b: b'{"format": 3}', "lacks the field 'epochs'"),
        ("recording.json", lambda b: b"[" * 200_000, "cannot be read: it is nested too deeply"),
        ("recording.json", lambda b: b"[]", "cannot be read: it holds no fields"),
        ("recording.json", lambda b: b'{"format": 3, "format": 3}', "it holds format twice"),
        ("recording.json", lambda b: b'{"format": %s}' % (b"3" * 5000), "cannot be read: Exceeds"),
        ("recording.json", lambda b: b'{"format": NaN}', "it holds NaN, which is no number"),
        (
            "recording.json",
            lambda b: b.replace(b'"float32"', b'["x"]'),
            "is ['x']: expected float32",
        ),
        ("recording.json", lambda b: b.replace(b'"float32"', b'"float16"'), "is float16: expected"),
        ("recording.json", lambda b: b.replace(b'"epochs": 0', b'"epochs": -3'), "is -3: expected"),
        (
            "recording.json",
            lambda b: b.replace(b"[784, 32", b"[784, 1e3"),
            "is 1000.0: expected a wh",
        ),
        (
            "recording.json",
            lambda b: b.replace(b'"layers.0.b"', b'"b"', 1),
            "expected ['layers.0.W'",
        ),
        ("answers.safetensors", lambda b: b[:-1], "is truncated or altered"),
        ("answers.safetensors", lambda b: b[:-1] + bytes([b[-1] ^ 1]), "is truncated or altered"),
        ("answers.safetensors", None, "there is no "),
        ("recording.json", lambda b: b.replace(b'"predict ', b'"guess '), " lacks guess "),
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


def test_answers_of_another_shape_are_refused_though_their_hash_is_right(
    check, recording, tmp_path
):
    folder = tmp_path / "recording"
    folder.mkdir()
    arrays = load_file(recording("float32", (32,)) / "answers.safetensors")
    name = next(name for name in arrays if name.endswith("/layers.0.b"))
    index = json.loads((recording("float32", (32,)) / "recording.json").read_text())
    for junk in (np.zeros(31, "float32"), np.zeros(32, "float16")):
        content = save(arrays | {name: junk})
        (folder / "answers.safetensors").write_bytes(content)
        index["sha256"] = hashlib.sha256(content).hexdigest()
        (folder / "recording.json").write_text(json.dumps(index))
        status, _, err = check(BOOK, "--recording", folder)
        assert status == 2
        assert f"{name} as {junk.dtype} of shape {junk.shape}: altered" in err


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--epochs", "-1"], "--epochs is -1: expected a whole number from 0 to 1000000"),
        (["--hidden", "1"], "--hidden is 1: expected a whole number from 2 to 100000"),
        (["--hidden", "x"], "Invalid value for --hidden: it is x, expected a whole number"),
        (["--data", "elsewhere"], "there is no elsewhere/MNIST/raw/train-images-idx3-ubyte"),
    ],
)
def test_what_cannot_be_recorded_is_refused_and_leaves_no_folder(
    data, status_of, tmp_path, capfd, options, message
):
    folder = tmp_path / "recording"
    options = options if "--data" in options else ["--data", data, *options]
    assert status_of(main, "record", folder, *options) == 2
    out, err = capfd.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert f"naive-parity: {message}" in err
    assert not folder.exists()


def test_a_file_in_the_place_of_a_recording_is_refused_and_kept(data, status_of, tmp_path, capfd):
    path = tmp_path / "file"
    path.write_text("mine")
    assert status_of(main, "record", path, "--data", data) == 2
    assert f"{path} is a file: expected the folder that the rec" in capfd.readouterr().err
    assert path.read_text() == "mine"
