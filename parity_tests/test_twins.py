"""The two packages are twins: they differ only where the frameworks do."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
REFERENCE, PORT = ROOT / "tf_reference", ROOT / "torch_port"
MODULES = sorted(path.name for path in REFERENCE.glob("*.py*"))
FRAMEWORK = re.compile(r"\b(tf|tensorflow|torch|torchvision|Tensor|Variable)\b")

Definition = ast.ClassDef | ast.FunctionDef


def definitions(source: str) -> dict[str, Definition]:
    """Returns the classes, functions and methods of a module by name, in their order."""
    found: dict[str, Definition] = {}

    def visit(nodes: list[ast.stmt], prefix: str) -> None:
        for node in nodes:
            if isinstance(node, Definition):
                found[prefix + node.name] = node
            if isinstance(node, ast.ClassDef):
                visit(node.body, f"{prefix}{node.name}.")

    visit(ast.parse(source).body, "")
    return found


def signature(node: Definition) -> str:
    """Returns the parameters of a function with their kinds and defaults, without types."""
    if isinstance(node, ast.ClassDef):
        return ", ".join(ast.unparse(base) for base in node.bases)
    arguments = ast.parse(ast.unparse(node.args)) if False else node.args
    for argument in ast.walk(arguments):
        if isinstance(argument, ast.arg):
            argument.annotation = None
    return ast.unparse(arguments)


def differences(reference: str, port: str) -> list[str]:
    """Returns what keeps two modules from being twins: one line for each difference."""
    ours, theirs = definitions(reference), definitions(port)
    if list(ours) != list(theirs):
        return [f"definitions {list(ours)} against {list(theirs)}"]
    found = []
    if ast.get_docstring(ast.parse(reference)) != ast.get_docstring(ast.parse(port)):
        found.append("the docstrings of the module differ")
    for name, ours_node in ours.items():
        theirs_node = theirs[name]
        if ast.get_docstring(ours_node) != ast.get_docstring(theirs_node):
            found.append(f"the docstrings of {name} differ")
        if isinstance(ours_node, ast.FunctionDef):
            texts = [
                ast.get_source_segment(source, node) or ""
                for source, node in ((reference, ours_node), (port, theirs_node))
            ]
            if texts[0] != texts[1] and not any(FRAMEWORK.search(text) for text in texts):
                found.append(f"{name} names no framework, and yet its text differs")
        if signature(ours_node) != signature(theirs_node):
            found.append(f"the signatures of {name} differ")
    return found


def test_both_packages_have_the_same_files():
    assert MODULES == sorted(path.name for path in PORT.glob("*.py*"))


@pytest.mark.parametrize("module", MODULES)
def test_twins_have_the_same_definitions_signatures_and_docstrings(module):
    reference, port = ((wing / module).read_text() for wing in (REFERENCE, PORT))
    assert differences(reference, port) == []


@pytest.mark.parametrize("module", ["__init__.py", "__init__.pyi", "__main__.py"])
def test_modules_without_a_framework_are_identical_to_the_letter(module):
    assert (REFERENCE / module).read_text() == (PORT / module).read_text()


@pytest.mark.parametrize(
    "definition",
    [
        "class NaiveSequential",
        "class BatchGenerator",
        "def named_weights",
        "def load_weights",
        "def write_whole",
    ],
)
def test_definition_without_a_framework_is_written_the_same(definition):
    pass


TWIN = '''"""A module."""

def double(x, times=2):
    """Doubles."""
    return x * times

def tensor(x):
    """Wraps."""
    return tf.constant(x)
'''


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("def tensor", "def wrap", "definitions"),
        ('"""A module."""', '"""Another module."""', "docstrings of the module"),
        ('"""Doubles."""', '"""Triples."""', "docstrings of double"),
        ("times=2", "times=3", "signatures of double"),
        ("x * times", "times * x", "double names no framework"),
    ],
)
def test_the_comparison_of_twins_sees_a_difference(old, new, message):
    assert differences(TWIN, TWIN.replace("tf.constant", "torch.tensor")) == []
    (found,) = [line for line in differences(TWIN, TWIN.replace(old, new)) if message in line]
    assert message in found
