"""Repairs as changes of the text of a port."""

import ast
import difflib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from parity_tests.check.repairs.functions import CLASSES, CONSTANTS
from parity_tests.check.repairs.repair import Mended
from parity_tests.check.results import Verdicts

Edit = tuple[int, int, str]
"""The first character that is replaced, the one after the last, and what takes their place."""
METHODS = ("permute", "unsqueeze", "squeeze", "mul", "log", "sigmoid", "softmax", "log_softmax")
"""Functions that are written after what they are given."""


def keep(verdicts: Verdicts, path: Path, repairs: Sequence[Mended]) -> None:
    """Keep repairs, and what they make of the text of a port, where they are changes of it.

    Args:
        verdicts: On the port.
        path: Of its file.
        repairs: That were found.
    """
    verdicts.repairs += repairs
    changes = [change for mended in repairs for change in mended.repair.changes]
    if not changes or path.suffix != ".py":
        return
    text = Text(path)
    if (new := text.changed(changes)) is not None:
        verdicts.mended, verdicts.diff = new, text.diff(new)


class Text:
    """The text of a port.

    Args:
        path: Of its file.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.source = path.read_text("utf-8")
        self.tree = ast.parse(self.source)
        starts = [0]
        for line in self.source.encode().splitlines(keepends=True):
            starts.append(starts[-1] + len(line))
        self._starts = starts

    def _at(self, line: int, column: int) -> int:
        """Return the character at a line and a column, which is counted in bytes."""
        return len(self.source.encode()[: self._starts[line - 1] + column].decode())

    def _span(self, node: Any) -> tuple[int, int]:
        return (
            self._at(node.lineno, node.col_offset),
            self._at(node.end_lineno, node.end_col_offset),
        )

    def _of(self, node: Any) -> str:
        return self.source[slice(*self._span(node))]

    def _node(self, place: Sequence[Any]) -> Any:
        """Return the expression at a place; None if there is none."""
        _, line, column, last, end = place
        for node in ast.walk(self.tree):
            if isinstance(node, ast.expr) and (
                (node.lineno, node.col_offset, node.end_lineno, node.end_col_offset)
                == (line, column, last, end)
            ):
                return node
        return None

    def changed(self, changes: Sequence[Mapping[str, Any]]) -> str | None:
        """Return the text with changes made; None if one is not a change of this text."""
        edits: list[Edit] = []
        for change in changes:
            place = change["text"]
            if not place or place[0] != self.path.name or (node := self._node(place)) is None:
                return None
            made = self._edits(change, node)
            if made is None:
                return None
            edits += made
        text = self.source
        for start, end, new in sorted(set(edits), reverse=True):
            text = text[:start] + new + text[end:]
        try:
            ast.parse(text)
        except SyntaxError:
            return None
        return text

    def _edits(self, change: Mapping[str, Any], node: Any) -> list[Edit] | None:
        """Return the edits that make a change; None if it cannot be written so."""
        kind, by = change["kind"], change["by"]
        start, end = self._span(node)
        if kind in ("clip", "zero"):
            return self._beside(node, kind, by)
        if kind == "mode" and isinstance(node, ast.Call):
            high = self._span(node.func)[1]
            return [(high - len("eval"), high, "train")]
        if kind == "penalty":
            called = self._node(by["root"][:5]) if by["root"] else None
            if not isinstance(called, ast.Call):
                return None
            model, factors = self._of(called.func), by["factors"].items()
            sums = [f" + {of:g} * {_weight(model, name)}.square().sum()" for name, of in factors]
            return [(end, end, "".join(sums))]
        if kind in ("attribute", "group") and change["place"] is None:
            return None  # what is called takes no such argument
        if kind in ("attribute", "group", "argument"):
            return self._set(node, by["name"], by["value"], change["place"])
        if kind == "called" and isinstance(node, ast.Call):
            return self._called(node, by, module=change["making"])
        if change["making"]:
            return [(start, end, "torch.nn.Identity()")] if kind == "without" else None
        return self._around_call(kind, by, node)

    def _around_call(self, kind: str, by: Mapping[str, Any], node: Any) -> list[Edit] | None:
        """Return the edits of a call and of what it is given."""
        start, end = self._span(node)
        given = self._given(node, by.get("place", 0))
        if kind == "after":
            return _around(start, end, by["name"], by["options"], _is_simple(node))
        if kind == "mirrored" and isinstance(node, ast.Subscript):
            cuts = node.slice.elts if isinstance(node.slice, ast.Tuple) else [node.slice]
            return [edit for cut in cuts for edit in self._mirrored(cut)]
        if given is None:
            return None
        low, high = self._span(given)
        if kind == "averaged" and (target := self._given(node, 1)) is not None:
            return [(end, end, f".div(len({self._of(target)}))")]
        if kind == "without":
            return [(start, low, ""), (high, end, "")]
        if kind == "before":
            return _around(low, high, by["name"], by["options"], _is_simple(given))
        if kind == "instead":
            name, rest = _called(by["name"], by["options"])
            return [(start, low, f"{name}("), (high, end, f"{rest})")]
        if kind == "reversed" and isinstance(given, ast.List | ast.Tuple):
            parts = ", ".join(self._of(item) for item in reversed(given.elts))
            return [(low, high, f"[{parts}]" if isinstance(given, ast.List) else f"({parts})")]
        return None

    def _called(self, node: ast.Call, by: Mapping[str, Any], *, module: bool) -> list[Edit]:
        """Return the edits that call another function with the same arguments, or its module."""
        low, high = self._span(node.func)
        start = high - len(node.func.attr) if isinstance(node.func, ast.Attribute) else low
        edits = [(start, high, CLASSES[by["name"]] if module else by["name"])]
        if constant := CONSTANTS.get(by["name"]):
            shown = f"{constant}={by['options'][constant]:g}"
            kept = [self._of(part) for part in ([] if module else node.args)]
            end = self._span(node)[1]
            edits.append((high, end, f"({', '.join([*kept, shown])})"))
        return edits

    def _beside(self, step: Any, kind: str, by: Mapping[str, Any]) -> list[Edit] | None:
        """Return the edits that put a line before or after the call of `step`."""
        lines = self.source.splitlines(keepends=True)
        line = lines[step.lineno - 1]
        indent = line[: len(line) - len(line.lstrip())]
        if not line.strip().startswith(optimizer := ast.unparse(step.func.value)):
            return None
        if kind == "zero":
            place = self._starts[step.end_lineno]
            return [(place, place, f"{indent}{optimizer}.zero_grad()\n")]
        weights = f'for group in {optimizer}.param_groups for w in group["params"]'
        called = f"torch.nn.utils.{by['name']}"
        text = f"{called}([w {weights}], {by['value']:g})"
        if by["each"]:
            text = f"[{called}(w, {by['value']:g}) {weights}]"
        place = self._starts[step.lineno - 1]
        return [(place, place, f"{indent}{text}\n")]

    def _mirrored(self, part: Any) -> list[Edit]:
        """Return the edit that cuts at the other end."""
        if not isinstance(part, ast.Slice) or part.step is not None:
            return []
        span = self._span(part)
        if part.lower is not None and part.upper is None:
            return [(*span, f":-{self._of(part.lower)}")]
        if part.lower is None and isinstance(part.upper, ast.UnaryOp):
            return [(*span, f"{self._of(part.upper.operand)}:")]
        return []

    def _given(self, node: Any, place: int) -> Any:
        """Return what a call is given at a place: of a method, what it belongs to comes first."""
        if isinstance(node, ast.BinOp):
            return (node.left, node.right)[place]
        if not isinstance(node, ast.Call):
            return None
        args = list(node.args)
        function = node.func
        if isinstance(function, ast.Attribute) and not self._is_module(function.value):
            args = [function.value, *args]
        return args[place] if place < len(args) else None

    def _is_module(self, node: Any) -> bool:
        """Return whether a name is that of a module that was imported, or of an object's part."""
        if not isinstance(node, ast.Name | ast.Attribute):
            return False
        name = ast.unparse(node).split(".")[0]
        imported = {
            (alias.asname or alias.name).split(".")[0]
            for part in ast.walk(self.tree)
            if isinstance(part, ast.Import | ast.ImportFrom)
            for alias in part.names
        }
        return name in imported or name in ("self", "cls") or name.endswith("loss_fn")

    def _set(self, node: Any, name: str, value: Any, place: int | None) -> list[Edit] | None:
        """Return the edits that give a call another argument."""
        shown = repr(tuple(value) if isinstance(value, list) else value)
        if isinstance(node, ast.BinOp) and name.isdigit():
            part = (node.left, node.right)[int(name)]
            return [(*self._span(part), shown)]
        if not isinstance(node, ast.Call):
            return None
        for keyword in node.keywords:
            if keyword.arg == name:
                return [(*self._span(keyword.value), shown)]
        place = int(name) if name.isdigit() else place
        if place is not None and self._given(node, 0) not in [*node.args, None]:
            place -= 1  # a method
        if place is not None and 0 <= place < len(node.args):
            part = node.args[place]
            return None if isinstance(part, ast.Starred) else [(*self._span(part), shown)]
        if name.isdigit():
            return None
        end = self._span(node)[1] - 1
        inside = [*node.args, *(keyword.value for keyword in node.keywords)]
        if not inside:
            return [(end, end, f"{name}={shown}")]
        last = max(self._span(part)[1] for part in inside)
        return [(last, last, f", {name}={shown}")]

    def diff(self, text: str) -> str:
        """Return what differs between this text and a changed one, as `diff -u` shows it."""
        own, other = (source.splitlines(keepends=True) for source in (self.source, text))
        name = self.path.name
        return "".join(difflib.unified_diff(own, other, name, f"{name}, mended", n=1))


def _weight(model: str, name: str) -> str:
    """Return how a weight of a model is written."""
    plain = all(part.isidentifier() for part in name.split("."))
    return f"{model}.{name}" if plain else f'{model}.get_parameter("{name}")'


def _is_simple(node: Any) -> bool:
    """Return whether a method of an expression can be called without parentheses around it."""
    return isinstance(node, ast.Name | ast.Call | ast.Attribute | ast.Subscript)


def _around(
    start: int, end: int, name: str, options: Mapping[str, Any], simple: bool
) -> list[Edit]:
    """Return the edits that call a function with what stands in the text."""
    if name in METHODS:
        values = [repr(value) for value in options.values()]
        if name == "permute":
            values = [", ".join(map(str, options["dims"]))]
        opening, closing = ("", "") if simple else ("(", ")")
        return [(start, start, opening), (end, end, f"{closing}.{name}({', '.join(values)})")]
    called, rest = _called(name, options)
    return [(start, start, f"{called}("), (end, end, f"{rest})")]


def _called(name: str, options: Mapping[str, Any]) -> tuple[str, str]:
    """Return what a function is called, and its options."""
    holder = "torch" if name in ("exp", "tanh", "sigmoid") else "torch.nn.functional"
    return f"{holder}.{name}", "".join(f", {key}={value!r}" for key, value in options.items())
