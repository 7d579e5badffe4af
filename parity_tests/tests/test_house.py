"""The rooms of the house: what each folder may import, and how large its pieces may be."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FRAMEWORKS = {"tensorflow", "torch", "torchvision"}

# By folder: the other folders of the project that it may import.
MAY_IMPORT = {
    "tf_reference": set(),
    "torch_port": set(),
    "parity_tests/ladder": set(),
    "parity_tests/traps": {"parity_tests/ladder", "torch_port"},
    "parity_tests/ports": {"parity_tests/ladder", "parity_tests/traps", "tf_reference"},
    "parity_tests/measurements": {"parity_tests/ladder", "tf_reference", "torch_port"},
}
MODULES = {folder: sorted((ROOT / folder).glob("*.py")) for folder in (*MAY_IMPORT, "parity_tests")}


def imported(source: str) -> set[str]:
    """Return the modules that a source imports, wherever in it; `a.b` for `from a import b`."""
    found = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        if isinstance(node, ast.ImportFrom) and not node.level:
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
        if isinstance(node, ast.Call) and ast.unparse(node.func).endswith("import_module"):
            found |= {str(arg.value) for arg in node.args if isinstance(arg, ast.Constant)}
    return found


def trespasses(folder: str, source: str) -> set[str]:
    """Return the folders that a module of a folder must not import, but does."""
    names = imported(source)
    others = {
        other
        for other in MAY_IMPORT
        if any(f"{name}.".startswith(f"{other.replace('/', '.')}.") for name in names)
    }
    return others - MAY_IMPORT[folder] - {folder}


@pytest.mark.parametrize("folder", MAY_IMPORT)
def test_a_folder_imports_only_what_it_may(folder):
    found = {path.name: trespasses(folder, path.read_text()) for path in MODULES[folder]}
    assert {name: others for name, others in found.items() if others} == {}


@pytest.mark.parametrize(
    ("folder", "line", "other"),
    [
        ("parity_tests/ladder", "from parity_tests.ports import check", "parity_tests/ports"),
        ("parity_tests/ladder", "import parity_tests.traps.catalogue", "parity_tests/traps"),
        ("parity_tests/traps", "def f():\n    import parity_tests.ports", "parity_tests/ports"),
        ("torch_port", "import parity_tests.ladder.oracle", "parity_tests/ladder"),
        ("tf_reference", "import_module('torch_port')", "torch_port"),
    ],
)
def test_an_import_through_a_wall_is_seen(folder, line, other):
    source = MODULES[folder][0].read_text()
    assert trespasses(folder, source) == set()
    assert trespasses(folder, f"{source}\n{line}\n") == {other}


@pytest.mark.parametrize("folder", [folder for folder in MAY_IMPORT if "/" in folder])
def test_a_folder_says_in_two_sentences_what_it_holds_and_what_it_may_import(folder):
    docstring = ast.get_docstring(ast.parse((ROOT / folder / "__init__.py").read_text())) or ""
    assert len([line for line in docstring.split("\n\n") if line.endswith(".")]) == 2
    assert "import" in docstring


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


def test_a_function_that_is_too_long_is_seen():
    source = "def f():\n" + "    pass\n" * 41
    assert list(sizes(source)) == [("f", 42)]
