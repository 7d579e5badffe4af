"""The walls: neither package needs the other's framework, and one process holds both."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

PACKAGES = {"torch_port": "tensorflow", "tf_reference": "torch"}

# Every module, and a step by the optimizer, which is what makes torch load Triton.
USE = """
import importlib, pkgutil
import {package}
for module in pkgutil.iter_modules({package}.__path__):
    importlib.import_module("{package}." + module.name)
layer = {package}.NaiveDense(3, 2, lambda x: x)
{package}.SGD()([w * 0 for w in layer.weights], layer.weights)
"""


def run(code: str, without: tuple[str, ...] = ()) -> subprocess.CompletedProcess[str]:
    """Run code in a fresh Python in which some modules are not installed."""
    absent = f"import sys; sys.modules.update(dict.fromkeys({without!r}))"
    return subprocess.run(
        [sys.executable, "-c", f"{absent}\n{code}"],
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )


@pytest.mark.parametrize(("package", "other"), PACKAGES.items())
def test_a_package_works_without_the_other_framework_and_without_the_tests(package, other):
    result = run(USE.format(package=package), without=(other, "parity_tests"))
    assert result.returncode == 0, result.stderr


@pytest.mark.parametrize(("package", "other"), PACKAGES.items())
def test_a_package_that_needed_the_other_framework_would_be_seen(package, other):
    result = run(f"import {other}\n" + USE.format(package=package), without=(other,))
    assert f"import of {other} halted" in result.stderr


@pytest.mark.parametrize("package", PACKAGES)
def test_importing_a_package_imports_no_framework(package):
    result = run(f"import {package}", without=tuple(PACKAGES.values()))
    assert result.returncode == 0, result.stderr


HIDE = """
import sys
from importlib.machinery import PathFinder
class Hiding(PathFinder):
    @classmethod
    def find_spec(cls, name, path=None, target=None):
        hidden = name.partition(".")[0] in {hidden!r}
        return None if hidden else super().find_spec(name, path, target)
sys.meta_path[sys.meta_path.index(PathFinder)] = Hiding
"""
"""Makes packages as absent as if they were not installed, also for `find_spec`."""

PROGRAM = """
sys.argv = ["naive-parity", *{arguments!r}]
from parity_tests.__main__ import main
try:
    main()
finally:
    assert not {hidden!r} & sys.modules.keys()
"""

LIBRARIES = {"torch": {"torch", "torchvision"}, "tf": {"tensorflow", "keras"}}
"""By the framework's name on the command line."""

OF_THE_PROOF = {"hypothesis", "jinja2", "matplotlib", "psutil", "pygments", "pytest"}
"""Some of what the extra `parity` installs."""


def run_program(hidden: set[str], *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the program in a fresh Python in which some libraries are not installed."""
    return run((HIDE + PROGRAM).format(hidden=hidden, arguments=arguments))


@pytest.mark.parametrize("framework", LIBRARIES)
def test_the_program_trains_with_each_framework_without_the_other_and_without_the_proof(
    data, framework
):
    (other,) = LIBRARIES.keys() - {framework}
    result = run_program(
        LIBRARIES[other] | OF_THE_PROOF,
        *("train", framework, "--epochs", "1", "--batch-size", "60000", "--data", str(data)),
    )
    assert result.returncode == 0, result.stderr
    assert re.search(r"^accuracy: 0\.\d\d$", result.stdout, re.MULTILINE)


@pytest.mark.parametrize("framework", LIBRARIES)
def test_the_program_names_the_framework_that_it_would_need(framework):
    result = run_program(LIBRARIES[framework], "train", framework)
    assert result.returncode == 2
    assert re.fullmatch(
        r"naive-parity: (\w+) is not installed: run `pip install 'naive-parity\[\1\]'`, .*\n",
        result.stderr,
    )


@pytest.mark.parametrize("order", [("torch_port", "tf_reference"), ("tf_reference", "torch_port")])
def test_both_packages_train_in_one_process_whichever_is_imported_first(order):
    result = run("".join(USE.format(package=package) for package in order))
    assert result.returncode == 0, result.stderr


def test_no_module_of_the_reference_imports_tensorflow_before_its_own_framework_does():
    for path in sorted((ROOT / "tf_reference").glob("*.py")):
        lines = re.findall(r"^(?:from|import) (\S+)", path.read_text(), re.MULTILINE)
        brings = [line for line in lines if line == ".framework" or "tensorflow" in line]
        assert path.name == "framework.py" or brings[:1] in ([], [".framework"]), path


def test_tensorflow_before_triton_is_what_the_import_order_must_avoid():
    pytest.importorskip("triton", reason="this build of torch has no Triton, and no conflict")
    result = run("import tensorflow\n" + USE.format(package="torch_port"))
    assert result.returncode < 0, "TensorFlow and Triton get along now: drop the workaround"


def test_no_test_module_loads_tensorflow_by_itself_before_triton():
    for path in sorted((ROOT / "parity_tests" / "tests").rglob("test_*.py")):
        for node in ast.parse(path.read_text()).body:
            loaded = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            loaded += [str(node.module)] if isinstance(node, ast.ImportFrom) else []
            tops = {name.split(".")[0] for name in loaded}
            assert tops.isdisjoint({"keras", "tensorflow"}), f"{path}: take it from tf_reference"


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


@pytest.mark.soak
@pytest.mark.parametrize(
    "content", ['{"floatx": "banana"}', "[1]", "[" * 100_000, '{"epsilon": "x"}', '{"backend": 5}']
)
def test_a_keras_json_that_keras_cannot_read_is_named(monkeypatch, tmp_path, content):
    (tmp_path / "keras.json").write_text(content)
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    result = run("import tf_reference.losses")
    last_line = result.stderr.splitlines()[-1]
    assert last_line.startswith("ImportError: Keras cannot be loaded (")
    assert last_line.endswith(f"mend or remove keras.json in {tmp_path}")


@pytest.mark.soak
@pytest.mark.parametrize(
    "name", ["TF_USE_LEGACY_KERAS", "KERAS_MAX_EPOCHS", "KERAS_MAX_STEPS_PER_EPOCH"]
)
def test_a_variable_that_makes_another_keras_or_less_training_is_named(monkeypatch, name):
    monkeypatch.setenv(name, "1")
    result = run("import tf_reference.losses")
    last_line = result.stderr.splitlines()[-1]
    assert last_line == (
        f"ImportError: tf_reference needs Keras 3 in full, but {name} is '1': unset it"
    )
