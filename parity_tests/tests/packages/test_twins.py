"""The two packages are twins: they differ only where the frameworks do."""

import ast
import difflib
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
REFERENCE, PORT = ROOT / "tf_reference", ROOT / "torch_port"
MODULES = sorted(path.name for path in REFERENCE.glob("*.py*"))

# What a line may name that one of the frameworks brings with it.
FRAMEWORK = re.compile(
    r"\b(tf|tensorflow|keras|h5py|logs|safetensors|torch|torchvision|logits|RMSprop|Tensor|Variable)\b"
    r"|\.(assign|detach|cpu|numpy|astype|data|grad|optimizer)\b"
)

# A class that one framework brings under the other's name, as in `RMSprop = tf.keras...RMSprop`.
ALIAS = re.compile(r"^(\w+)(: TypeAlias)? = tf\.keras\.(\w+\.)*\1$", re.MULTILINE)

Definition = ast.ClassDef | ast.FunctionDef


def definitions(source: str) -> dict[str, Definition]:
    """Return the classes, functions and methods of a module by name, in their order."""
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
    """Return the bases of a class, or the parameters of a function without their types."""
    if isinstance(node, ast.ClassDef):
        return ", ".join(ast.unparse(base) for base in node.bases)
    for argument in ast.walk(node.args):
        if isinstance(argument, ast.arg):
            argument.annotation = None
    return ast.unparse(node.args)


def differences(reference: str, port: str) -> list[str]:
    """Return what keeps two modules from being twins, one sentence for each difference."""
    # What the framework brings, the port spells out; there is nothing to compare it with.
    brought = tuple(match[1] for match in ALIAS.finditer(reference))
    right = definitions(port)
    if missing := [name for name in brought if name not in right]:
        return [f"the port lacks {missing}"]
    right = {name: node for name, node in right.items() if name.split(".")[0] not in brought}
    left = definitions(reference)
    if list(left) != list(right):
        return [f"definitions {list(left)} against {list(right)}"]
    found = []
    if ast.get_docstring(ast.parse(reference)) != ast.get_docstring(ast.parse(port)):
        found.append("the docstrings of the module differ")
    for name in left:
        if ast.get_docstring(left[name]) != ast.get_docstring(right[name]):
            found.append(f"the docstrings of {name} differ")
        if signature(left[name]) != signature(right[name]):
            found.append(f"the signatures of {name} differ")
    lines = reference.splitlines(), port.splitlines()
    for kind, a, b, c, d in difflib.SequenceMatcher(None, *lines, autojunk=False).get_opcodes():
        hunk = [line for line in lines[0][a:b] + lines[1][c:d] if line.strip()]
        imports = all(re.match(r"\s*(import|from) ", line) for line in hunk)
        if kind != "equal" and not imports and not any(FRAMEWORK.search(line) for line in hunk):
            found.append(f"no framework is named in {hunk}")
    return found


def test_both_packages_have_the_same_files():
    assert sorted(path.name for path in PORT.glob("*.py*")) == MODULES


@pytest.mark.parametrize("module", MODULES)
def test_twins_have_one_structure_and_differ_only_where_a_framework_is_named(module):
    assert differences((REFERENCE / module).read_text(), (PORT / module).read_text()) == []


@pytest.mark.parametrize(
    "module",
    [
        *("__init__.py", "__init__.pyi", "__main__.py", "notebook.py"),
        *("arguments.py", "command_line.py", "files.py", "run_log.py"),
    ],
)
def test_modules_without_a_framework_are_identical_to_the_letter(module):
    assert (REFERENCE / module).read_text() == (PORT / module).read_text()


@pytest.mark.parametrize(
    "name", ["NaiveSequential.__call__", "BatchGenerator", "verify", "Checkpoints"]
)
def test_definitions_without_a_framework_are_identical_to_the_letter(name):
    (module,) = [m for m in MODULES if name in definitions((REFERENCE / m).read_text())]
    reference, port = ((package / module).read_text() for package in (REFERENCE, PORT))
    bodies = [
        [ast.get_source_segment(source, line) for line in definitions(source)[name].body]
        for source in (reference, port)
    ]
    assert bodies[0] == bodies[1]


TWIN = '''"""A module."""

def double(x, times=2):
    """Doubles."""
    return x * times

def constant(x):
    """Wraps."""
    return tf.constant(x)

Dense = tf.keras.layers.Dense
'''


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("def constant", "def wrap", "definitions"),
        ('"""A module."""', '"""Another module."""', "docstrings of the module"),
        ('"""Doubles."""', '"""Triples."""', "docstrings of double"),
        ("times=2", "times=3", "signatures of double"),
        ("x * times", "times * x", "no framework is named in"),
        ("class Dense(torch", "class Denser(torch", "the port lacks ['Dense']"),
    ],
)
def test_a_difference_between_twins_is_seen(old, new, message):
    port = TWIN.replace("tf.constant", "torch.tensor").replace(
        "Dense = tf.keras.layers.Dense", "class Dense(torch.nn.Linear):\n    pass"
    )
    assert differences(TWIN, port) == []
    assert any(message in line for line in differences(TWIN, port.replace(old, new)))
