"""The rooms of the house: what each folder may import, and how large its pieces may be."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

# By folder: the other folders of the project and the frameworks that it may import.
MAY_IMPORT = {
    "tf_reference": {"tensorflow"},
    "torch_port": {"torch", "torchvision"},
    "parity_tests/program": set(),
    "parity_tests/ladder": {"parity_tests/program"},
    "parity_tests/traps": {"parity_tests/ladder", "parity_tests/program", "torch_port", "torch"},
    "parity_tests/check": {
        "parity_tests/check/guest",
        "parity_tests/ladder",
        "parity_tests/program",
    },
    "parity_tests/check/book": {
        "parity_tests/check",
        "parity_tests/check/repairs",
        "parity_tests/ladder",
        "parity_tests/traps",
    },
    "parity_tests/check/guest": {
        "parity_tests/check",
        "torchvision",
        "torch_port",
        "torch",
    },
    "parity_tests/check/keras": {"parity_tests/check", "tensorflow", "torch"},
    "parity_tests/check/models": {
        "parity_tests/check",
        "parity_tests/check/book",
        "parity_tests/check/repairs",
        "parity_tests/ladder",
        "parity_tests/program",
        "parity_tests/traps",
    },
    "parity_tests/check/repairs": {
        "parity_tests/check",
        "parity_tests/check/book",
        "parity_tests/check/models",
        "parity_tests/ladder",
    },
    "parity_tests/page": {"parity_tests/ladder"},
    "parity_tests/measurements": {
        "parity_tests/ladder",
        "parity_tests/program",
        "tf_reference",
        "torch_port",
        "tensorflow",
        "torch",
    },
}
WALLED = {*MAY_IMPORT, "parity_tests", "tensorflow", "torch", "torchvision"}
# They bring the two packages, and with them their frameworks, to the ladder and to the program.
BRIDGES = {Path("parity_tests/ladder/adapters.py"), Path("parity_tests/program/frameworks.py")}
MODULES = sorted(
    {path.relative_to(ROOT) for folder in MAY_IMPORT for path in (ROOT / folder).rglob("*.py")}
    - BRIDGES
)


def imported(module: Path, source: str) -> set[str]:
    """Return the modules that a source imports, wherever in it; `a.b` for `from a import b`."""
    found = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        if isinstance(node, ast.ImportFrom):
            above = module.parts[: len(module.parts) - node.level] if node.level else ()
            owner = [*above, *filter(None, [node.module])]
            found |= {".".join([*owner, alias.name]) for alias in node.names}
        if isinstance(node, ast.Call) and "import" in ast.unparse(node.func):
            arguments = [*node.args, *(keyword.value for keyword in node.keywords)]
            found |= {str(arg.value) for arg in arguments if isinstance(arg, ast.Constant)}
    return found


def trespasses(module: Path, source: str) -> set[str]:
    """Return the folders and frameworks that a module must not import, but does."""
    folder = module.parent.as_posix()
    others = set()
    for name in imported(module, source):
        path = name.replace(".", "/") + "/"
        walls = [wall for wall in WALLED if path.startswith(f"{wall}/")]
        others |= {max(walls, key=len)} if walls else set()
    return others - MAY_IMPORT[folder] - {folder}


@pytest.mark.parametrize("module", MODULES, ids=str)
def test_a_module_imports_only_what_its_folder_may(module):
    assert trespasses(module, (ROOT / module).read_text()) == set()


@pytest.mark.parametrize(
    ("module", "line", "other"),
    [
        ("parity_tests/ladder/oracle.py", "from parity_tests.check import process", "check"),
        ("parity_tests/ladder/oracle.py", "from ..check import process", "check"),
        ("parity_tests/ladder/oracle.py", "import parity_tests.traps.catalogue", "traps"),
        ("parity_tests/ladder/oracle.py", "import torch", "torch"),
        ("parity_tests/traps/loss.py", "def f():\n    import parity_tests.check", "check"),
        ("parity_tests/check/book/seen.py", "import torch", "torch"),
        ("parity_tests/check/book/seen.py", "from parity_tests.check.models import data", "models"),
        ("parity_tests/check/guest/steps.py", "from parity_tests.traps import trap", "traps"),
        ("parity_tests/check/models/data.py", "from ..keras import units", "check/keras"),
        ("parity_tests/check/keras/file.py", "from parity_tests.traps import trap", "traps"),
        ("parity_tests/traps/loss.py", "from parity_tests.check.guest import find", "check/guest"),
        ("parity_tests/program/train.py", "from torch_port import training", "torch_port"),
        ("parity_tests/program/train.py", "from parity_tests.ladder import oracle", "ladder"),
        ("torch_port/losses.py", "import parity_tests.conversion", "parity_tests"),
        ("torch_port/losses.py", "from parity_tests.program.messages import say", "program"),
        ("torch_port/losses.py", "from .. import tf_reference", "tf_reference"),
        ("tf_reference/losses.py", "import_module(name='torch_port')", "torch_port"),
    ],
)
def test_an_import_through_a_wall_is_seen(module, line, other):
    source = (ROOT / module).read_text()
    (found,) = trespasses(Path(module), f"{source}\n{line}\n")
    assert found.endswith(other)


def imports_by_a_computed_name(source: str) -> bool:
    """Return whether a source has Python import what no wall could see: a name that it computes."""
    return "importlib" in source or "__import__" in source


@pytest.mark.parametrize("folder", ["parity_tests/ladder", "parity_tests/program"])
def test_only_the_bridge_of_a_folder_imports_by_a_computed_name(folder):
    found = {
        path.relative_to(ROOT)
        for path in (ROOT / folder).rglob("*.py")
        if imports_by_a_computed_name(path.read_text())
    }
    assert found <= BRIDGES
    assert len(found) == 1


@pytest.mark.parametrize("folder", [folder for folder in MAY_IMPORT if "/" in folder])
def test_a_folder_says_in_two_sentences_what_it_holds_and_what_it_may_import(folder):
    docstring = ast.get_docstring(ast.parse((ROOT / folder / "__init__.py").read_text())) or ""
    holds, may_import = docstring.split("\n\n")
    assert holds.count(".") - holds.count(".py") == may_import.count(".") == 1
    allowed = {other.split("/")[-1] for other in MAY_IMPORT[folder] & set(MAY_IMPORT)}
    assert all(other in may_import for other in allowed)


def sizes(source: str) -> Iterator[tuple[str, int]]:
    """Yield each function and its number of lines, its docstring left out."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.FunctionDef):
            first = node.body[1] if ast.get_docstring(node) and len(node.body) > 1 else node.body[0]
            head = node.body[0].lineno - node.lineno
            yield node.name, head + (node.end_lineno or 0) - first.lineno + 1


PROOF = sorted((ROOT / "parity_tests").rglob("*.py"))


@pytest.mark.parametrize("path", PROOF, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_function_is_longer_than_40_lines_and_no_module_than_350(path):
    source = path.read_text()
    assert [(name, lines) for name, lines in sizes(source) if lines > 40] == []
    assert len(source.splitlines()) <= 350


def lines_in(folder: Path) -> int:
    """Return the number of lines of all modules of a folder, as `wc -l` counts them."""
    return sum(path.read_bytes().count(b"\n") for path in folder.rglob("*.py"))


@pytest.mark.parametrize("folder", ["tf_reference", "torch_port", "parity_tests/program"])
def test_each_twin_and_the_program_have_at_most_1500_lines(folder):
    assert 0 < lines_in(ROOT / folder) <= 1500


def test_a_twin_that_grows_is_seen_in_all_its_modules(tmp_path):
    for name in ("a.py", "deep/b.py", "not_code.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("\n" + "pass\n" * 750)
    assert lines_in(tmp_path) == 1502


def test_a_function_that_is_too_long_is_seen():
    source = "def f():\n" + "    pass\n" * 41
    assert list(sizes(source)) == [("f", 42)]
