"""What changes or is missing around a run: its files, its log, its folder, its terminal."""

import errno
import importlib
import importlib.util
import math
import os
import signal
import stat
import subprocess
import sys
import types
from itertools import product

import numpy as np
import pytest
from safetensors.numpy import save

import tf_reference
from parity_tests.__main__ import main
from parity_tests.model_files import load_model
from parity_tests.program import files, process, run_log
from parity_tests.program.frameworks import FRAMEWORKS, PACKAGES, Twin


def test_no_file_of_mnist_and_none_of_the_checkpoints_is_written_over(command, data, tmp_path):
    mnist = data / "MNIST" / "raw" / "t10k-labels-idx1-ubyte"
    content = mnist.read_bytes()
    kept = tmp_path / "c" / "0000009-0000000.safetensors"
    kept.parent.mkdir()
    for option in ("--log", "--save-weights"):
        status, out, err = command("train", option, mnist)
        assert (status, out) == (2, "")
        assert f"{mnist} is named twice: expected a file of its own" in err
        status, out, err = command("train", "--checkpoint", kept.parent, option, kept)
        assert (status, out) == (2, "")
        assert f"{kept} lies in {kept.parent}, which is no place for it: name another" in err
    assert mnist.read_bytes() == content
    assert not kept.exists()


@pytest.mark.parametrize("change", [os.remove, lambda path: os.truncate(path, 0)])
def test_a_log_that_is_removed_or_truncated_meanwhile_is_not_whole(tmp_path, change):
    path = tmp_path / "run.jsonl"
    log = run_log.RunLog(path)
    log.record(loss=1.0)
    log.check()
    change(path)
    log.record(loss=2.0)
    with pytest.raises(OSError, match="was moved or changed meanwhile: it is not whole"):
        log.check()
    log.close()


def test_help_that_cannot_be_printed_is_no_success(status_of, monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", "1")
    assert status_of(main, "train", "--help") == 0
    with open("/dev/full", "w") as stream:
        monkeypatch.setattr(sys, "stdout", stream)
        assert status_of(main, "train", "--help") == 2
    assert "standard output cannot be written: No space left" in capsys.readouterr().err


def test_a_folder_that_was_removed_is_no_place_to_begin(monkeypatch, capsys, tmp_path):
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    assert process.guarded(lambda: None) == 2
    assert "the current folder was removed: change to another one" in capsys.readouterr().err


def test_no_file_of_mnist_and_no_input_is_written_over_by_a_check(
    status_of, data, capsys, tmp_path
):
    port, reference = (tmp_path / name for name in ("port.py", "original.py"))
    for path in (port, reference):
        path.write_text("mine")
    mnist = data / "MNIST" / "raw" / "t10k-labels-idx1-ubyte"
    before = mnist.read_bytes()
    for output, option in product((mnist, port, reference), ("--json", "--report")):
        options = ["--reference", reference, "--data", data, option, output]
        assert status_of(main, "check", port, *options) == 2
        assert f"{output} is named twice" in capsys.readouterr().err
    assert mnist.read_bytes() == before
    assert {path.read_text() for path in (port, reference)} == {"mine"}
    assert len(list(tmp_path.iterdir())) == 2


@pytest.mark.skipif(not os.path.exists("/proc/self/mem"), reason="needs Linux")
def test_a_file_that_cannot_be_read_as_one_is_named(command):
    status, out, err = command("evaluate", "/proc/self/mem")
    assert (status, out) == (2, "")
    assert "/proc/self/mem cannot be read: Input/output error; expected a safetensors file" in err


@pytest.mark.parametrize(
    "arguments",
    [
        ["train", "torch", "--epochs", "nan"],
        ["train", "tf", "--epochs", "nan"],
        pytest.param(["check", "--epochs", "nan"], marks=pytest.mark.soak),
    ],
)
def test_a_file_of_the_current_folder_is_no_module_of_python(arguments, tmp_path):
    for name in ("random", "numpy", "json", "typing"):
        (tmp_path / f"{name}.py").touch()
    command = [sys.executable, "-m", "parity_tests", *arguments]
    ended = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert (ended.returncode, ended.stdout) == (2, "")
    assert ended.stderr.endswith("--epochs: it is nan, expected a whole number\n")


def test_memory_that_is_exhausted_is_one_sentence(command, package, monkeypatch, tmp_path):
    twin = Twin(FRAMEWORKS[package.__name__])
    framework, training = twin.framework, twin.training

    def fit(*of, **options):
        if package.__name__ == "torch_port":
            framework.torch.empty(10**15)
        raise framework.tf.errors.ResourceExhaustedError(None, None, "after 10 s")

    monkeypatch.setattr(training, "fit", fit)
    status, out, err = command("train", "--save-weights", tmp_path / "w.safetensors")
    assert (status, out) == (2, "")
    assert err.splitlines()[-1].endswith("the memory is exhausted: take a smaller batch size")
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(RuntimeError, match="mine"), framework.shortage_named():
        raise RuntimeError("mine")


def test_a_limit_is_named_where_it_may_be_the_cause(monkeypatch, tmp_path):
    resource = pytest.importorskip("resource")
    errors = MemoryError("no room"), ImportError("x.so: failed to map segment from shared object")
    for limit, hint in ((2**30, "; `ulimit -v` allows 1048576 kB: raise it"), (-1, "")):
        monkeypatch.setattr(resource, "getrlimit", lambda which, limit=limit: (limit, limit))
        for error in errors:
            assert process.described(error) == f"{error}{hint}"
        assert process.described(ValueError("other")) == "other"

    def too_large(*of):
        raise OSError(errno.EFBIG, "File too large")

    monkeypatch.setattr(os, "posix_fallocate", too_large)
    with pytest.raises(OSError, match="File too large") as refused:
        files.Output(tmp_path / "w", size=1)
    assert process.described(refused.value).endswith(": File too large; see `ulimit -f`")
    too_many = OSError(errno.EMFILE, "Too many open files", "w")
    assert process.described(too_many) == "w: Too many open files; see `ulimit -n`"


@pytest.mark.skipif(not hasattr(signal, "SIGXCPU"), reason="needs a system with limits")
def test_the_end_of_the_time_that_is_allowed_is_said(capsys):
    status = process.guarded(lambda: signal.raise_signal(signal.SIGXCPU))
    assert status == 128 + signal.SIGXCPU
    assert capsys.readouterr().err == "naive-parity: the time that `ulimit -t` allows is over\n"


def test_memory_that_is_exhausted_on_a_rank_is_no_rank_that_is_lost():
    errors = tf_reference.framework.tf.errors

    def step():
        raise errors.ResourceExhaustedError(None, None, "mine")

    with pytest.raises(errors.ResourceExhaustedError):
        tf_reference.ranks.Ranks(0, 2, None).run(step)


def test_a_rank_that_is_interrupted_alone_does_not_wait_for_rank_0(
    package, command, monkeypatch, tmp_path
):
    """If rank 0 is asked to end as well, it saves first, and ends the others within a step."""
    twin = Twin(FRAMEWORKS[package.__name__])
    program = importlib.import_module("parity_tests.program.train")

    def fit(*of, on_step, **options):
        signal.raise_signal(signal.SIGTERM)
        on_step(0, 0, 1.0)
        monkeypatch.setattr(program, "time", types.SimpleNamespace(monotonic=lambda: math.inf))
        on_step(0, 1, 1.0)
        raise AssertionError("it went on")

    monkeypatch.setattr(twin.ranks, "join", lambda: types.SimpleNamespace(rank=1, size=2))
    monkeypatch.setattr(program, "check_same", lambda *of: None)
    monkeypatch.setattr(program, "taken_over", lambda *of: of[-1])
    monkeypatch.setattr(twin.training, "fit", fit)
    status, out, err = command("train", "--checkpoint", tmp_path / "saved")
    assert (status, out) == (128 + signal.SIGTERM, "")
    assert err == "naive-parity: rank 1 was interrupted alone\n"


@pytest.mark.parametrize("by", ["the package", "the program"])
def test_a_file_that_is_replaced_keeps_its_mode(package, tmp_path, by):
    write_whole = package.weights.write_whole if by == "the package" else files.write_whole
    path = tmp_path / "w.safetensors"
    umask = os.umask(0o027)
    try:
        write_whole(path, b"first")
    finally:
        os.umask(umask)
    assert stat.S_IMODE(path.stat().st_mode) == 0o640
    path.chmod(0o600)
    write_whole(path, b"second")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert path.read_bytes() == b"second"


def test_a_log_and_curves_of_one_name_are_refused_before_either_is_made(command, tmp_path):
    place = tmp_path / "zz"
    status, out, err = command("train", "--epochs", "1", "--log", place, "--tensorboard", place)
    assert (status, out) == (2, "")
    assert f"{place} is named twice: expected a file of its own" in err
    assert not any(tmp_path.iterdir())


def test_weights_of_the_other_dtype_name_the_option_that_takes_them(command, package, tmp_path):
    path = tmp_path / "w.safetensors"
    package.save_weights(package.mnist_model(seed=0, dtype="float64"), path)
    status, _, err = command("evaluate", path)
    assert status == 2
    assert "expected float32 of shape (784, 512), or a model in float64 (--dtype float64)" in err
    assert command("evaluate", path, "--dtype", "float64")[0] == 0


def test_a_model_that_is_refused_leaves_the_default_dtype(package, tmp_path):
    wrong = package.first_example.mnist_model(seed=0)
    if package.__name__ == "torch_port":
        path = tmp_path / "wrong.safetensors"
        path.write_bytes(save({"0.weight": np.zeros((512, 783))}))
    else:
        path = tmp_path / "wrong.weights.h5"
        layers = importlib.import_module("keras").layers
        narrow = type(wrong)([layers.Input((784,)), layers.Dense(5, dtype="float64", name="dense")])
        narrow.save_weights(path)
    with pytest.raises(ValueError, match="is not a file of the first example's model"):
        load_model(path)
    kernel = package.first_example.mnist_model().layers[0].weights[0]
    assert str(kernel.dtype).removeprefix("torch.") == "float32"


def test_a_training_that_gives_all_images_one_label_says_what_to_do(command):
    arguments = ["--epochs", "1", "--batch-size", "60000"]
    status, out, err = command("train", *arguments, "--learning-rate", "0.5")
    assert (status, out.splitlines()[-1]) == (0, "accuracy: 0.10")
    assert "all test images are given one label: train for longer, or with a smaller" in err
    assert "--learning-rate than 0.5" in err


@pytest.mark.parametrize("kind", [ValueError, KeyError, RuntimeError])
def test_an_error_of_the_program_itself_keeps_its_traceback_and_asks_for_a_report(
    command, package, monkeypatch, kind
):
    def fit(*of, **options):
        raise kind("mine")

    monkeypatch.setattr(Twin(FRAMEWORKS[package.__name__]).training, "fit", fit)
    status, out, err = command("train")
    *traceback, last = err.splitlines()
    assert (status, out) == (os.EX_SOFTWARE, "")
    assert traceback[0] == "Traceback (most recent call last):"
    assert '    raise kind("mine")' in traceback
    assert traceback[-1] == f"{kind.__name__}: {kind('mine')}"
    assert last == (
        "naive-parity: this is a mistake of the program, not yours: please report what stands above"
    )


ONE_FRAMEWORK = """
import sys
sys.modules[{library!r}] = None  # as if it were not installed
from parity_tests.__main__ import main
sys.argv[1:] = {arguments!r}
main()
"""


def test_a_framework_that_is_not_installed_is_named_and_the_other_one_trains(
    package, status_of, data, monkeypatch, capsys
):
    missing = FRAMEWORKS[package.__name__]
    _, library = PACKAGES[missing]
    found = importlib.util.find_spec
    find_spec = lambda name, *of: None if name == library else found(name, *of)  # noqa: E731
    monkeypatch.setattr(importlib.util, "find_spec", find_spec)
    arguments = ["--epochs", "1", "--batch-size", "60000", "--data", str(data)]
    assert status_of(main, "train", missing, *arguments) == 2
    out, err = capsys.readouterr()
    assert (out, err) == (
        "",
        f"naive-parity: {library} is not installed: run `pip install 'naive-parity[{library}]'`, "
        f"or in a checkout `pip install '.[{library}]'`\n",
    )
    (other,) = set(PACKAGES) - {missing}
    code = ONE_FRAMEWORK.format(library=library, arguments=["train", other, *arguments])
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (ended.returncode, ended.stdout.splitlines()[0]) == (0, "Epoch 0"), ended.stderr


@pytest.mark.parametrize(
    ("error", "sentence"),
    [
        (
            ModuleNotFoundError("No module named 'x'"),
            "No module named 'x': run `pip install 'naive-parity[parity]'` for it",
        ),
        (ImportError("KERAS_BACKEND is 'jax': unset it"), "KERAS_BACKEND is 'jax': unset it"),
    ],
)
def test_a_library_that_a_command_cannot_import_is_one_sentence(
    monkeypatch, status_of, capsys, error, sentence
):
    def fails(**options):
        raise error

    monkeypatch.setattr("parity_tests.measurements.experiments.learning_rates", fails)
    assert status_of(importlib.import_module("parity_tests.__main__").main, "learning-rates") == 2
    assert capsys.readouterr().err == f"naive-parity: {sentence}\n"
