"""What the main program of a file would make: its model, its optimizer, its constants.

A file is not run as a program, since that would train for minutes. Of what stands under
`if __name__ == "__main__"`, and in a function that makes the model, only assignments of
constants and of instances are run, in their order.
"""

import ast
import inspect
from collections.abc import Iterator
from typing import Any

from parity_tests.ports.source import functions, loops, trains

METHODS = {"parameters", "to", "double", "float", "type", "train", "requires_grad_", "compile"}
"""Methods that an assignment may call: they change nothing but what it makes."""


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


def _bodies(tree: ast.Module) -> Iterator[list[ast.stmt]]:
    """Yield what stands under a main guard, and in functions that train."""
    for node in tree.body:
        if isinstance(node, ast.If) and "__name__" in ast.unparse(node.test):
            yield node.body
    for node in functions(tree).values():
        if trains(node) or node.name == "main" or any(map(_makes_optimizer, node.body)):
            yield node.body


def _makes_optimizer(node: ast.stmt) -> bool:
    return isinstance(node, ast.Assign) and "parameters()" in ast.unparse(node.value)


def _assign(node: ast.Assign | ast.AnnAssign, names: dict[str, Any], defined: dict) -> None:
    targets = node.targets if isinstance(node, ast.Assign) else [node.target]
    if not all(isinstance(target, ast.Name) and target.id not in names for target in targets):
        return
    made = dict(names)
    try:
        if not _harmless(node.value, names, defined):
            return
        exec(compile(ast.Module([node], []), "<main>", "exec"), made)  # noqa: S102 (as an import does)
    except Exception:  # noqa: BLE001 (it needs what was not made: then it is not made either)
        return
    names |= {target.id: made[target.id] for target in targets if isinstance(target, ast.Name)}


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
