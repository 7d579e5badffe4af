"""Every command and every Python example of every README is run, or is one that would be."""

import functools
import importlib
import inspect
import os
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from parity_tests import __main__ as proof
from parity_tests import assert_same_training, check_port, conversion, fetch_mnist
from parity_tests.check.models import reference
from parity_tests.measurements import benchmark, book_numbers, experiments, scaling
from parity_tests.model_files import save_model
from parity_tests.program import evaluate, gradients, notebook, train
from parity_tests.tests.page.conftest import *  # noqa: F403 (the page of a run, for an example)
from parity_tests.tests.test_readme import DOCUMENTS, ROOT
from parity_tests.traps import loss, sensitivity

BLOCK = re.compile(r"^( *)```(\w+)\n(.*?)^ *```$", re.MULTILINE | re.DOTALL)
INLINE = re.compile(r"`((?:make|naive-parity|python -m) [^`\n]+)`")
# Spans that speak of a command and do not show one, and commands that the tests themselves are.
NO_COMMANDS = {"naive-parity COMMAND --help", "naive-parity check", "naive-parity check --json",
               "make check"}  # fmt: skip
OURSELVES = re.compile(r"make parity *(#|$)|pytest|\bbench\b|pip install")
MAKE, BASH = (shutil.which(program) or program for program in ("make", "bash"))
FEW = {"epochs=10, batch_size=128": "epochs=1, batch_size=20_000",
       "epochs=2,": "epochs=1, batch_size=20_000,"}  # fmt: skip


def blocks(document, language):
    """Return the blocks of a document in a language, without what they are indented by."""
    found = [match for match in BLOCK.finditer(DOCUMENTS[document]) if match[2] == language]
    return [inspect.cleandoc(match[3]) for match in found]


def commands(document):
    """Return the commands that a document shows, those of loops and pipes one by one."""
    found = [line for line in INLINE.findall(DOCUMENTS[document]) if line not in NO_COMMANDS]
    for block in blocks(document, "sh"):
        text = re.sub(r"\\\n\s*", "", block).replace("$framework", "torch")
        for line in re.split(r"\n|&&|;|\|", re.sub(r" +#.*", "", text)):
            word = line.split()[:1]
            if word and word[0] not in ("for", "done", "do", "cmp", "echo", "."):
                found.append(line.strip())
    return found


EVERY = sorted({(command, name) for name in DOCUMENTS for command in commands(name)})


@pytest.fixture
def accepted(monkeypatch, status_of):
    """Say whether a command line takes some arguments; the command itself is not run."""
    functions = [(check_port, "check"), (conversion, "convert"),
                 (fetch_mnist, "fetch"), (sensitivity, "traps"), (benchmark, "bench"),
                 (experiments, "learning_rates"), (experiments, "rmsprop"),
                 (book_numbers, "book_numbers"), (scaling, "scaling"), (train, "train"),
                 (evaluate, "evaluate"), (gradients, "gradients"),
                 (notebook, "notebook"), (reference, "record")]  # fmt: skip
    for module, name in functions:
        instead = functools.wraps(getattr(module, name))(lambda *_, **options: None)
        monkeypatch.setattr(module, name, instead)

    def accepted(*arguments):
        return not status_of(proof.main, *arguments)  # None is 0 as well

    return accepted


def dry_run(arguments):
    """Return what make would do, and whether it knows what to do."""
    settings = {"VENV": sys.prefix, "MAKEFLAGS": f"--old-file={sys.prefix}/.installed"}
    return subprocess.run(
        [MAKE, "--dry-run", *arguments], cwd=ROOT, env=os.environ | settings,
        capture_output=True, text=True, check=False,
    )  # fmt: skip


@pytest.mark.parametrize(("command", "document"), EVERY)
def test_a_command_of_a_readme_is_one_that_is_taken(accepted, command, document):
    program, *arguments = shlex.split(command)
    if program == "pip":
        extra = re.fullmatch(r"\.\[(\w+)\]", arguments[1])
        extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
        assert arguments[0] == "install"
        assert extra[1] in extras["optional-dependencies"]
    elif program == "make":
        made = dry_run(arguments)
        assert made.returncode == 0, made.stderr
    elif program == "naive-parity":
        assert accepted(*arguments)
    elif program == "tensorboard":
        assert arguments[0] == "--logdir"
    else:
        assert program.endswith("python")
        assert arguments[0] == "-m"
        taken(accepted, arguments[1:])


def taken(accepted, arguments):
    """Refuse a module that is not there, or takes no such arguments."""
    module, *rest = arguments
    if module == "parity_tests":
        assert not rest or accepted(*rest)
    elif module in ("pytest", "cProfile"):
        (path,) = [ROOT / argument for argument in rest if argument.startswith("parity_tests/")]
        assert path.exists()
    else:
        assert importlib.util.find_spec(module)


def test_a_command_that_is_not_taken_is_seen(accepted):
    assert not accepted("train", "torch", "--epoch-count", "3")
    assert not accepted("checks", "port.py")
    assert dry_run(["no-such-target"]).returncode != 0


@pytest.fixture
def beside_mnist(monkeypatch, tmp_path, data):
    """A folder in which `data` holds MNIST, as the examples take it."""
    (tmp_path / "data").symlink_to(data.resolve())
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_example_of_the_first_page_is_that_of_the_port():
    first, second = blocks("README.md", "python")[0], blocks("torch_port/README.md", "python")[0]
    assert first.replace("  # or from tf_reference", "") == second


@pytest.mark.parametrize("name", ["torch_port/README.md", "tf_reference/README.md"])
def test_the_examples_from_python_run_one_after_the_other(beside_mnist, capsys, name):
    names = {}
    for block in blocks(name, "python"):
        for whole, part in FEW.items():
            block = block.replace(whole, part)
        exec(block, names)  # noqa: S102 (it is our own document)
    assert re.search(r"^accuracy: 0\.\d\d$", capsys.readouterr().out, re.MULTILINE)
    assert len(names["losses"]) == 3
    assert Path("weights.safetensors").exists()


def test_the_example_of_a_trap_is_one(capsys):
    (example,) = blocks("parity_tests/traps/README.md", "python")
    trap = eval(example.rstrip(), vars(loss).copy())  # noqa: S307 (it is our own document)
    assert (trap.name, trap.rung) == ("epsilon added", "loss")
    assert trap.name in [known.name for known in loss.TRAPS]


def test_the_example_of_a_page_prints_the_accuracies(html, beside_mnist, capsys):
    (example,) = blocks("parity_tests/page/README.md", "python")
    Path("build").mkdir()
    Path("build", "parity.html").write_text(html)
    exec(example, {})  # noqa: S102 (it is our own document)
    assert capsys.readouterr().out == "{'reference': 0.25, 'port': 0.25}\n"


def test_the_example_of_a_model_is_the_first_pair_of_the_zoo(tmp_path, monkeypatch):
    (example,) = blocks("parity_tests/check/models/README.md", "python")
    for name in ("original.py", "port.py"):
        source = ROOT / "parity_tests" / "tests" / "models" / "zoo" / "mlp" / name
        (tmp_path / name).write_text(source.read_text())
    monkeypatch.chdir(tmp_path)
    called = []
    monkeypatch.setattr("parity_tests.assert_same_training", lambda *paths: called.append(paths))
    names = {}
    exec(example, names)  # noqa: S102 (it is our own document)
    names["test_the_port"]()
    ((port, original),) = called
    assert Path(port).exists()
    assert Path(original).exists()
    assert list(inspect.signature(assert_same_training).parameters)[:2] == ["port", "reference"]


def shell_blocks():
    """Return each block of commands once, without the lines that are these tests themselves."""
    found = {}
    for document in DOCUMENTS:
        for block in blocks(document, "sh"):
            lines = [line for line in block.splitlines() if not OURSELVES.search(line)]
            if lines:
                found.setdefault("\n".join(lines).replace(" --device cuda", ""), document)
    return found


@pytest.fixture
def user_folder(beside_mnist):
    """A folder with all the files that the examples name."""
    (student,) = blocks("parity_tests/check/README.md", "python")
    Path("student.py").write_text(student)
    for name in ("original.py", "port.py"):
        source = ROOT / "parity_tests" / "tests" / "models" / "zoo" / "mlp" / name
        Path(name).write_text(source.read_text())
    reference = importlib.import_module("tf_reference").first_example
    save_model(reference.mnist_model(seed=0), Path("model.keras"))
    return beside_mnist


@pytest.mark.soak
@pytest.mark.parametrize("block", shell_blocks())
def test_the_commands_of_a_readme_run_in_a_shell(user_folder, data, block):
    settings = {
        "PATH": f"{sys.prefix}/bin:{os.environ['PATH']}", "PYTHONPATH": str(ROOT),
        "VENV": sys.prefix, "DATA": str(data.resolve()),
        "MAKEFLAGS": f"--old-file={sys.prefix}/.installed", "KERAS_BACKEND": "",
    }  # fmt: skip
    script = re.sub(r"^( *)make ", rf"\1make -C {ROOT} ", block, flags=re.MULTILINE)
    found = subprocess.run(
        [BASH, "-eo", "pipefail", "-c", script],
        env=os.environ | settings, capture_output=True, text=True, check=False,
    )  # fmt: skip
    # The student's port is wrong, and so is one with a planted trap.
    expected = 2 if "--plant" in block else 1 if "student.py" in block else 0
    assert found.returncode == expected, found.stdout[-2000:] + found.stderr[-2000:]
    if "student.py" in block:
        (shown,) = re.findall(
            r"^-> gradients: .*$", DOCUMENTS["parity_tests/check/README.md"], re.M
        )
        assert shown in found.stdout


def test_every_python_block_is_one_of_these():
    found = {name for name in DOCUMENTS if blocks(name, "python")}
    of_ports = "parity_tests/check/README.md"  # whose example is checked above, as a file
    assert found - {of_ports} == {
        "README.md", "torch_port/README.md", "tf_reference/README.md",
        "parity_tests/traps/README.md", "parity_tests/page/README.md",
        "parity_tests/check/models/README.md",
    }  # fmt: skip
