"""What the main program of a file would make: its model, its optimizer, its constants.

A file is not run as a program, since that would train for minutes. Of what stands under
`if __name__ == "__main__"`, and in a function that makes the model, only assignments of
constants and of instances are run, in their order, and what declares the options of a command
line.
"""

import ast
import inspect
from collections.abc import Iterator
from typing import Any

from parity_tests.check.guest.source import functions, loops, trains

METHODS = {"parameters", "to", "double", "float", "type", "train", "requires_grad_", "compile"}
METHODS |= {"is_available", "add_argument", "parse_args"}
"""Methods that may be called: they change nothing but what is made here."""


def prepare(tree: ast.Module, names: dict[str, Any]) -> None:
    """Run the assignments that make a model or an optimizer, and add what they make.

    Args:
        tree: The code of a file.
        names: What it holds; what is there already stays.
    """
    defined = functions(tree)
    for body in _bodies(tree):
        for node in body:
            if isinstance(node, ast.Assign | ast.AnnAssign) and node.value is not None:
                _assign(node, names, defined)
            elif isinstance(node, ast.Expr) and ".add_argument(" in ast.unparse(node):
                _run(node, names, defined)


def _bodies(tree: ast.Module) -> Iterator[list[ast.stmt]]:
    """Yield what stands under a main guard, and in functions that train or have it done."""
    for node in tree.body:
        if isinstance(node, ast.If) and "__name__" in ast.unparse(node.test):
            yield node.body
    defined = functions(tree)
    trainers = {name for name, node in defined.items() if trains(node)}
    for name, node in defined.items():
        has_it_done = any(getattr(part, "id", "") in trainers for part in ast.walk(node))
        if name in trainers or has_it_done or name == "main" or any(map(_optimizes, node.body)):
            yield node.body


def _optimizes(node: ast.stmt) -> bool:
    return isinstance(node, ast.Assign) and "parameters()" in ast.unparse(node.value)


def _assign(node: ast.Assign | ast.AnnAssign, names: dict[str, Any], defined: dict) -> None:
    assigned = node.targets if isinstance(node, ast.Assign) else [node.target]
    targets = [part for target in assigned for part in getattr(target, "elts", [target])]
    if all(isinstance(target, ast.Name) and target.id not in names for target in targets):
        made = _run(node, names, defined)
        wanted = {target.id for target in targets if isinstance(target, ast.Name)}
        names |= {name: value for name, value in made.items() if name in wanted}


def _run(
    node: ast.Assign | ast.AnnAssign | ast.Expr, names: dict[str, Any], defined: dict
) -> dict[str, Any]:
    """Run a statement that does no harm; return what there is then, by name."""
    made = dict(names)
    try:
        if _harmless(node.value, names, defined):
            exec(compile(ast.Module([node], []), "<main>", "exec"), made)  # noqa: S102 (as an import does)
    except Exception:  # noqa: BLE001 (it needs what was not made: then it is not made either)
        return {}
    return made


def _harmless(value: ast.expr | None, names: dict[str, Any], defined: dict) -> bool:
    """Return whether all that an expression calls makes an instance, and trains nothing."""
    for node in ast.walk(value or ast.Constant(None)):
        if not isinstance(node, ast.Call):
            continue
        function = node.func
        if isinstance(function, ast.Attribute) and function.attr in METHODS:
            continue
        called = _resolved(function, names)
        if inspect.isclass(called):
            continue
        body = defined.get(getattr(function, "id", ""))
        if body is None or loops(body) or trains(body):
            return False
    return True


def _resolved(node: ast.expr, names: dict[str, Any]) -> Any:
    """Return what a dotted name refers to; None if it is no such name."""
    if isinstance(node, ast.Name):
        return names.get(node.id)
    if isinstance(node, ast.Attribute):
        return getattr(_resolved(node.value, names), node.attr, None)
    return None
