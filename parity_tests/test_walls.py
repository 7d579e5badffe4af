"""The walls: neither package needs the other's framework, and one process holds both."""

import subprocess
import sys

import pytest

WINGS = {"torch_port": "tensorflow", "tf_reference": "torch"}

# Every module, and a step by the optimizer, which is what makes torch load Triton.
USE = """
import importlib, pkgutil
import {wing}
for module in pkgutil.iter_modules({wing}.__path__):
    importlib.import_module("{wing}." + module.name)
layer = {wing}.NaiveDense(3, 2, lambda x: x)
{wing}.SGD()([w * 0 for w in layer.weights], layer.weights)
"""


def run(code: str, without: tuple[str, ...] = ()) -> subprocess.CompletedProcess[str]:
    """Runs code in a fresh Python in which some modules are not installed."""
    absent = f"import sys; sys.modules.update(dict.fromkeys({without!r}))"
    return subprocess.run(
        [sys.executable, "-c", f"{absent}\n{code}"],
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )


@pytest.mark.parametrize(("wing", "other"), WINGS.items())
def test_a_package_works_without_the_other_framework_and_without_the_tests(wing, other):
    result = run(USE.format(wing=wing), without=(other, "parity_tests"))
    assert result.returncode == 0, result.stderr


@pytest.mark.parametrize(("wing", "other"), WINGS.items())
def test_a_package_that_needed_the_other_framework_would_be_seen(wing, other):
    result = run(f"import {other}\n" + USE.format(wing=wing), without=(other,))
    assert f"import of {other} halted" in result.stderr


@pytest.mark.parametrize("wing", WINGS)
def test_importing_a_package_imports_no_framework(wing):
    result = run(f"import {wing}", without=tuple(WINGS.values()))
    assert result.returncode == 0, result.stderr


@pytest.mark.parametrize("order", [("torch_port", "tf_reference"), ("tf_reference", "torch_port")])
def test_both_packages_train_in_one_process_whichever_is_imported_first(order):
    result = run("".join(USE.format(wing=wing) for wing in order))
    assert result.returncode == 0, result.stderr


def test_tensorflow_before_triton_is_what_the_import_order_must_avoid():
    pytest.importorskip("triton", reason="this build of torch has no Triton, and no conflict")
    result = run("import tensorflow\n" + USE.format(wing="torch_port"))
    assert result.returncode < 0, "TensorFlow and Triton get along now: drop the workaround"


def test_another_keras_backend_is_refused_in_one_sentence(monkeypatch):
    monkeypatch.setenv("KERAS_BACKEND", "torch")
    result = run("import tf_reference.losses")
    last_line = result.stderr.splitlines()[-1]
    assert last_line == (
        "ImportError: tf_reference needs Keras on TensorFlow, but KERAS_BACKEND is 'torch': "
        "unset it, or set it to 'tensorflow'"
    )


def test_another_keras_backend_in_keras_json_is_refused_in_one_sentence(monkeypatch, tmp_path):
    (tmp_path / "keras.json").write_text('{"backend": "torch"}')
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    result = run("import tf_reference.losses")
    assert "but keras.json asks for 'torch'" in result.stderr.splitlines()[-1]
