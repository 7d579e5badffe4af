"""The two packages are twins: they differ only where the frameworks do, and share no machinery."""

import ast
import difflib
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
REFERENCE, PORT = ROOT / "tf_reference", ROOT / "torch_port"
MODULES = sorted(path.name for path in REFERENCE.glob("*.py*"))

# What a line may name that one of the frameworks brings with it.
FRAMEWORK = re.compile(
    r"\b(tf|tensorflow|keras|h5py|logs|safetensors|torch|torchvision|logits|RMSprop|Tensor|Variable)\b"
    r"|\.(assign|detach|cpu|numpy|astype|data|grad|optimizer|compile|is_compatible_with)\b"
    r"|\b(LOST|TF_CONFIG|WORLD_SIZE)\b"
)

# A class that one framework brings under the other's name, as in `RMSprop = tf.keras...RMSprop`.
ALIAS = re.compile(r"^(\w+)(: TypeAlias)? = tf\.keras\.(\w+\.)*\1$", re.MULTILINE)

Definition = ast.ClassDef | ast.FunctionDef

# The book's own code, which stands in both packages, however much of it is alike.
BOOK = {
    *("NaiveDense", "NaiveSequential", "BatchGenerator", "one_training_step", "fit"),
    *("mnist_model", "update_weights", "predict", "evaluate"),
}
LONGEST_RUN, LONGEST_FIT = 11, 25


def is_private(name: str) -> bool:
    """Return whether a class, function or method is a helper that a twin may do without."""
    return any(re.match("_(?!_)", part) for part in name.split("."))


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


def docstrings(source: str) -> Iterator[ast.stmt]:
    """Yield the strings that document a module, a definition or a constant."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            yield node


def pieces(source: str, left_out: Iterable[ast.stmt]) -> list[list[str]]:
    """Return the lines of a module that are not empty, cut where statements are left out."""
    cuts = {line for node in left_out for line in range(first_line(node), last_line(node) + 1)}
    found: list[list[str]] = [[]]
    for number, line in enumerate(source.splitlines(), 1):
        if number in cuts:
            found.append([])
        elif line.strip():
            found[-1].append(line)
    return found


def first_line(node: ast.stmt) -> int:
    """Return where a statement begins, with its decorators."""
    return min([node.lineno, *(d.lineno for d in getattr(node, "decorator_list", []))])


def last_line(node: ast.stmt) -> int:
    """Return where a statement ends."""
    return node.end_lineno or node.lineno


def shared_runs(reference: list[str], port: list[str]) -> list[list[str]]:
    """Return each run of lines, longer than allowed, that stands in modules of both packages.

    The book's own code is left out, and signatures and docstrings end a run.
    """
    length = LONGEST_RUN + 1

    def runs(sources: list[str]) -> Iterator[tuple[str, ...]]:
        for source in sources:
            for piece in pieces(source, ends_of_runs(source)):
                for start in range(len(piece) - length + 1):
                    yield tuple(line.strip() for line in piece[start : start + length])

    both = set(runs(port))
    return [list(run) for run in runs(reference) if run in both]


def ends_of_runs(source: str) -> Iterator[ast.stmt]:
    """Yield the signatures, the docstrings and the book's own code of a module."""
    yield from docstrings(source)
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, Definition) and node.name in BOOK:
            yield node
        elif isinstance(node, Definition):
            yield ast.Pass(lineno=first_line(node), end_lineno=node.body[0].lineno - 1)


def lines_of_code(source: str, name: str) -> int:
    """Return how many lines the body of a function has without docstrings, comments and blanks."""
    node = definitions(source)[name]
    documented = ast.get_docstring(node) is not None
    first = node.body[1 if documented else 0].lineno
    lines = source.splitlines()[first - 1 : last_line(node)]
    return sum(bool(line.strip()) and not line.strip().startswith("#") for line in lines)


def signature(node: Definition) -> str:
    """Return the bases of a class, or the parameters of a function without their types."""
    if isinstance(node, ast.ClassDef):
        return ", ".join(ast.unparse(base) for base in node.bases)
    for argument in ast.walk(node.args):
        if isinstance(argument, ast.arg):
            argument.annotation = None
    return ast.unparse(node.args)


def documented(node: ast.Module | Definition) -> bool:
    """Return whether a module, a class or a function has a docstring."""
    return bool(ast.get_docstring(node))


def public_code(source: str) -> list[str]:
    """Return the lines of a module without its docstrings and its private helpers."""
    private = [node for name, node in definitions(source).items() if is_private(name)]
    return [line for piece in pieces(source, [*docstrings(source), *private]) for line in piece]


def differences(reference: str, port: str) -> list[str]:
    """Return what keeps two modules from being twins, one sentence for each difference."""
    # What the framework brings, the port spells out; there is nothing to compare it with.
    brought = tuple(match[1] for match in ALIAS.finditer(reference))
    right = definitions(port)
    if missing := [name for name in brought if name not in right]:
        return [f"the port lacks {missing}"]
    right = {
        name: node
        for name, node in right.items()
        if name.split(".")[0] not in brought and not is_private(name)
    }
    left = {name: n for name, n in definitions(reference).items() if not is_private(name)}
    if list(left) != list(right):
        return [f"definitions {list(left)} against {list(right)}"]
    found = []
    if documented(ast.parse(reference)) != documented(ast.parse(port)):
        found.append("only one module has a docstring")
    for name in left:
        if documented(left[name]) != documented(right[name]):
            found.append(f"only one {name} has a docstring")
        if signature(left[name]) != signature(right[name]):
            found.append(f"the signatures of {name} differ")
    lines = public_code(reference), public_code(port)
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


@pytest.mark.parametrize("module", ["__init__.py", "__init__.pyi"])
def test_modules_without_a_framework_are_identical_to_the_letter(module):
    assert (REFERENCE / module).read_text() == (PORT / module).read_text()


@pytest.mark.parametrize(
    "name", ["NaiveSequential.__call__", "BatchGenerator", "verify", "each_epoch", "check"]
)
def test_definitions_without_a_framework_are_identical_to_the_letter(name):
    (module,) = [m for m in MODULES if name in definitions((REFERENCE / m).read_text())]
    reference, port = ((package / module).read_text() for package in (REFERENCE, PORT))
    bodies = [
        [ast.get_source_segment(source, line) for line in definitions(source)[name].body]
        for source in (reference, port)
    ]
    assert bodies[0] == bodies[1]


def sources(package: Path) -> list[str]:
    """Return the text of each module of a package."""
    return [path.read_text() for path in sorted(package.glob("*.py"))]


def test_the_packages_share_no_long_run_of_lines_but_the_code_of_the_book():
    assert shared_runs(sources(REFERENCE), sources(PORT)) == []


@pytest.mark.parametrize("package", [REFERENCE, PORT], ids=lambda path: path.name)
@pytest.mark.parametrize("module", ["training.py", "first_example.py"])
def test_a_loop_over_epochs_is_short_enough_to_read(package, module):
    assert lines_of_code((package / module).read_text(), "fit") <= LONGEST_FIT


RUN = "".join(f"    x += {number}\n" for number in range(LONGEST_RUN + 1))


def test_a_long_run_of_lines_in_both_packages_is_seen_also_in_another_module():
    one, other = f"def one(x):\n{RUN}", f"y = 1\nclass Other:\n  def other(self, x):\n{RUN}"
    assert shared_runs([one], ["z = 1\n", other]) == [[line.strip() for line in RUN.splitlines()]]
    less = RUN.replace("    x += 5\n", "\n")
    assert shared_runs([f"def one(x):\n{less}"], [other]) == []
    assert shared_runs([f"def fit(x):\n{RUN}"], [f"def fit(x):\n{RUN}"]) == []
    cut = RUN.replace("x += 5\n", "x += 5\n    def inner(\n        x\n    ): return x\n")
    assert shared_runs([f"def one(x):\n{cut}"], [f"def one(x):\n{cut}"]) == []


def test_a_line_of_code_is_counted_and_a_comment_or_a_docstring_is_not():
    fit = f'def fit(x):\n    """Doc.\n\n    More.\n    """\n    # Why.\n\n{RUN}'
    assert lines_of_code(fit, "fit") == LONGEST_RUN + 1
    assert lines_of_code(fit + "    # Why.\n    return [\n        x\n    ]\n", "fit") == 15
    assert lines_of_code("def fit(x):\n" + RUN * 3, "fit") > LONGEST_FIT


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
        ('"""A module."""', "", "only one module has a docstring"),
        ('"""Doubles."""', "", "only one double has a docstring"),
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


def test_docstrings_may_say_what_is_done_here_and_private_helpers_need_no_twin():
    port = TWIN.replace("tf.constant", "torch.tensor").replace(
        "Dense = tf.keras.layers.Dense", "class Dense(torch.nn.Linear):\n    pass"
    )
    helper = "\n\ndef _helper(x):\n    return 2 * x\n"
    assert differences(TWIN, port.replace('"""Doubles."""', '"""Twice, in place."""')) == []
    assert differences(TWIN, port + helper) == []
    assert differences(TWIN, port + helper.replace("_helper", "helper")) != []
