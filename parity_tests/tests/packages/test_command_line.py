"""The command line, with both frameworks: the book's output, and a sentence for bad input."""

import importlib
import json
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file, save_file
from tensorboard.backend.event_processing import event_accumulator
from tensorboard.util import tensor_util

import torch_port
from parity_tests.__main__ import main
from parity_tests.program.frameworks import FRAMEWORKS

ONE_STEP = ["--epochs", "1", "--batch-size", "60000"]


def test_training_prints_the_lines_of_the_book(command):
    status, out, _ = command("train", "--epochs", 1, "--batch-size", 500)
    lines = out.splitlines()
    assert status == 0
    assert lines[0] == "Epoch 0"
    assert re.fullmatch(r"loss at batch 0: \d\.\d\d", lines[1])
    assert re.fullmatch(r"loss at batch 100: \d\.\d\d", lines[2])
    assert re.fullmatch(r"accuracy: 0\.\d\d", lines[3])


def test_log_holds_versions_options_hash_and_every_loss_in_full(command, package, tmp_path):
    status, *_ = command("train", *ONE_STEP, "--log", tmp_path / "run.jsonl")
    first, step, last = map(json.loads, (tmp_path / "run.jsonl").read_text().splitlines())
    model = package.mnist_model(seed=0)
    assert status == 0
    assert set(first["versions"]) > {"python", "numpy"}
    assert first["options"]["batch_size"] == 60000
    assert first["initial_weights_sha256"] == package.weights_sha256(model)
    assert step["loss"] == np.float32(step["loss"])
    assert (step["epoch"], step["batch"]) == (0, 0)
    assert 0 < last["accuracy"] < 1


def test_saved_weights_are_evaluated_to_the_accuracy_that_training_logged(command, tmp_path):
    weights, log, labels = tmp_path / "w.safetensors", tmp_path / "run.jsonl", tmp_path / "labels"
    command("train", *ONE_STEP, "--save-weights", weights, "--log", log)
    status, out, _ = command("evaluate", weights, "--predictions", labels)
    accuracy = json.loads(log.read_text().splitlines()[-1])["accuracy"]
    assert (status, out) == (0, f"accuracy: {accuracy:.4f}\n")
    assert len(np.loadtxt(labels, int)) == 10_000


def test_training_starts_from_a_weights_file_in_float64_by_either_rule(command, package, tmp_path):
    weights = tmp_path / "initial.safetensors"
    package.save_weights(package.mnist_model(seed=3, dtype="float64"), weights)
    options = [*ONE_STEP, "--dtype", "float64", "--initial-weights", weights]
    for rule in ("hand", "sgd"):
        saved, log = tmp_path / f"{rule}.safetensors", tmp_path / "run.jsonl"
        assert command(
            "train", *options, "--update-rule", rule, "--save-weights", saved, "--log", log
        )[0] == 0  # fmt: skip
    by_hand, by_sgd = (load_file(tmp_path / f"{rule}.safetensors") for rule in ("hand", "sgd"))
    for name, initial in load_file(weights).items():
        assert not np.array_equal(by_hand[name], initial)
        np.testing.assert_allclose(by_hand[name], by_sgd[name], rtol=1e-6, atol=1e-12)


def test_shuffling_changes_the_run_and_one_seed_repeats_it(command, tmp_path):
    logs = []
    for name, shuffle in (("a", "--shuffle"), ("b", "--shuffle"), ("c", "--no-shuffle")):
        command("train", "--epochs", 1, "--batch-size", 20000, shuffle, "--log", tmp_path / name)
        logs.append((tmp_path / name).read_text().splitlines()[1:])
    assert logs[0] == logs[1]
    assert logs[0] != logs[2]


def test_the_last_of_an_option_given_twice_counts_as_what_make_passes_on_needs(command, tmp_path):
    log = tmp_path / "run.jsonl"
    assert command("train", *ONE_STEP, "--seed", 1, "--seed", 2, "--log", log)[0] == 0
    assert json.loads(log.read_text().splitlines()[0])["options"]["seed"] == 2


def test_an_unknown_value_of_an_option_is_refused(command):
    status, out, err = command("train", "--epochs", "ten")
    assert (status, out) == (2, "")
    assert err == "naive-parity: Invalid value for --epochs: it is ten, expected a whole number\n"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--epochs", "0"], 'Invalid value "0" for --epochs. Must be >= 1.'),
        (["--batch-size", "-1"], 'Invalid value "-1" for --batch-size. Must be >= 1.'),
        (
            ["--learning-rate", "nan"],
            "Invalid value for --learning-rate: it is nan, expected a finite number",
        ),
        (
            ["--learning-rate", "inf"],
            "Invalid value for --learning-rate: it is inf, expected a finite number",
        ),
        (["--learning-rate", "0"], 'Invalid value "0.0" for --learning-rate. Must be > 0.'),
        (["--learning-rate", "1e999"], 'Invalid value "inf" for --learning-rate. Must be < inf.'),
        (["--seed", "-1"], 'Invalid value "-1" for --seed. Must be >= 0.'),
    ],
)
def test_a_number_out_of_range_is_refused_by_name(command, arguments, message):
    status, out, err = command("train", *arguments)
    assert (status, out, err) == (2, "", f"naive-parity: {message}\n")


@pytest.mark.parametrize("option", ["--save-weights", "--log"])
def test_an_output_that_cannot_be_written_is_refused_before_training(command, option, tmp_path):
    for path, reason in (
        (tmp_path / "no" / "file", "No such file"),
        (tmp_path, "is a folder"),
        (Path(os.devnull), "is a pipe or a device"),
    ):
        status, out, err = command("train", option, path)
        assert (status, out) == (2, "")
        assert f"{path} cannot be written" in err
        assert reason in err
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_would_be_written_over_another_one_is_refused(command, package, tmp_path):
    weights = tmp_path / "w.safetensors"
    package.save_weights(package.mnist_model(), weights)
    content = weights.read_bytes()
    for arguments in (
        ("train", "--initial-weights", weights, "--log", weights),
        ("train", "--save-weights", tmp_path / "new", "--log", tmp_path / "new"),
        ("evaluate", weights, "--predictions", weights),
    ):
        status, out, err = command(*arguments)
        assert (status, out) == (2, "")
        assert "is named twice: expected a file of its own" in err
    assert weights.read_bytes() == content
    assert [path.name for path in tmp_path.iterdir()] == ["w.safetensors"]


def test_a_name_too_long_is_refused_before_training(command, tmp_path):
    # It fits the file itself, but not the partial one beside it, whichever process writes that.
    status, out, err = command("train", "--save-weights", tmp_path / ("x" * 254))
    assert (status, out) == (2, "")
    assert "cannot be written" in err
    assert "File name too long" in err


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda w: w["layers.1.b"].fill(np.nan), "holds a number in layers.1.b that is not finite"),
        (
            lambda w: w.update({"layers.1.b": w["layers.1.b"].astype("float16")}),
            "holds F16 of shape (10,) as layers.1.b: expected float32 of",
        ),
        (
            lambda w: w.pop("layers.0.b"),
            "holds nothing as layers.0.b: expected float32 of shape (512,)",
        ),
        (
            lambda w: w.update(extra=w["layers.0.b"]),
            "holds float32 of shape (512,) as extra: expected nothing",
        ),
        (
            lambda w: w.update({"layers.0.W": w["layers.0.W"].T.copy()}),
            "float32 of shape (512, 784) as layers.0.W",
        ),
        (
            lambda w: w.update({"layers.1.b": w["layers.1.b"].astype("float64")}),
            "float64 of shape (10,)",
        ),
    ],
)
def test_a_weights_file_of_another_model_is_refused_by_tensor(
    command, package, change, message, tmp_path
):
    path = tmp_path / "w.safetensors"
    package.save_weights(package.mnist_model(), path)
    tensors = load_file(path)
    change(tensors)
    save_file(tensors, path)
    status, out, err = command("evaluate", path)
    assert (status, out) == (2, "")
    assert f"{path} " in err
    assert message in err


def test_a_weights_file_that_is_missing_or_corrupt_is_refused(command, package, tmp_path):
    path = tmp_path / "w.safetensors"
    assert f"there is no {path}" in command("evaluate", path)[2]
    package.save_weights(package.mnist_model(), path)
    path.write_bytes(path.read_bytes()[:-1])
    status, out, err = command("evaluate", path)
    assert (status, out) == (2, "")
    assert f"{path} is not a whole safetensors file" in err


def test_a_truncated_an_altered_and_a_missing_file_of_mnist_are_named(command, data, tmp_path):
    raw = tmp_path / "MNIST" / "raw"
    shutil.copytree(data / "MNIST" / "raw", raw)
    labels = raw / "t10k-labels-idx1-ubyte"
    content = labels.read_bytes()
    for changed in (content[:-1], content[:-1] + bytes([content[-1] ^ 1])):
        labels.write_bytes(changed)
        status, out, err = command("train", data=tmp_path)
        assert (status, out) == (2, "")
        assert f"{labels} is truncated or altered" in err
        assert "run `make data`" in err
    os.truncate(labels, 10**11)  # of which nothing is on the disk, and little is read
    begun = time.monotonic()
    assert f"{labels} is truncated or altered" in command("train", data=tmp_path)[2]
    assert time.monotonic() < begun + 20
    labels.unlink()
    status, out, err = command("train", data=tmp_path)
    assert (status, out) == (2, "")
    assert f"there is no {labels}: expected a file of MNIST; run `make data`" in err


def test_a_cpu_that_would_round_to_bfloat16_computes_in_float32(monkeypatch):
    product = torch.Tensor.__matmul__

    def rounding_product(x, y):
        if x.dtype == torch.float32 and torch.get_float32_matmul_precision() == "medium":
            return product(x.bfloat16(), y.bfloat16()).float()
        return product(x, y)

    monkeypatch.setattr(torch.Tensor, "__matmul__", rounding_product)
    torch_port.use_device("cpu")
    assert torch.get_float32_matmul_precision() == "highest"


def test_a_device_that_is_not_there_is_refused(command, package):
    framework = importlib.import_module(f"{package.__name__}.framework")
    library = getattr(framework, "torch", None) or framework.tf
    there = (
        library.cuda.is_available()
        if package.__name__ == "torch_port"
        else library.config.list_physical_devices("GPU")
    )
    if there:
        pytest.skip("this machine has a CUDA device")
    status, out, err = command("train", "--device", "cuda")
    assert (status, out) == (2, "")
    assert "device 'cuda' was asked for, but none was found" in err


def test_both_write_the_same_tags_and_steps_for_tensorboard(data, status_of, tmp_path):
    options = ["--epochs", 1, "--batch-size", 30_000, "--data", data]
    found = {}
    for name, framework in FRAMEWORKS.items():
        log = tmp_path / f"{name}.jsonl"
        arguments = [framework, *options, "--tensorboard", tmp_path, "--log", log]
        assert status_of(main, "train", *arguments) == 0
        events = event_accumulator.EventAccumulator(str(tmp_path / name)).Reload()
        found[name] = {
            tag: [(event.step, value(event)) for event in events.Tensors(tag)]
            for tag in events.Tags()["tensors"]
        } | {
            tag: [(event.step, event.value) for event in events.Scalars(tag)]
            for tag in events.Tags()["scalars"]
        }
        _, *steps, last = map(json.loads, log.read_text().splitlines())
        losses = [np.float32(step["loss"]) for step in steps]
        assert found[name]["loss"] == list(enumerate(losses))
        assert found[name]["accuracy"] == [(2, np.float32(last["accuracy"]))]
    assert found["tf_reference"].keys() == found["torch_port"].keys() == {"loss", "accuracy"}


def test_a_folder_for_tensorboard_that_cannot_be_made_is_refused(command, tmp_path):
    (tmp_path / "file").touch()
    status, out, err = command("train", "--tensorboard", tmp_path / "file")
    assert (status, out) == (2, "")
    assert str(tmp_path / "file") in err


def value(event):
    """Return the number that an event of TensorFlow's writer holds."""
    return tensor_util.make_ndarray(event.tensor_proto).item()


def test_the_port_writes_for_tensorboard_without_tensorflow(tmp_path):
    code = (
        "import pathlib, sys\n"
        "from parity_tests.program.curves import scalar_writer\n"
        f"with scalar_writer(pathlib.Path({str(tmp_path)!r}), 'torch_port') as write:\n"
        "    write('loss', 1.5, 0)\n"
        "assert 'tensorflow' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)
    assert len(list((tmp_path / "torch_port").iterdir())) == 1


@pytest.mark.parametrize("subcommand", [[], ["train"], ["evaluate"], ["gradients"], ["notebook"]])
def test_the_help_fits_a_screen_of_48_lines_and_80_columns(
    status_of, capsys, monkeypatch, subcommand
):
    monkeypatch.setenv("COLUMNS", "80")
    assert status_of(main, *subcommand, "--help") == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) <= 48
    assert max(map(len, lines)) <= 80
