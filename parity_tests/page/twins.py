"""The diff of the twins, side by side and highlighted."""

import difflib
from itertools import zip_longest
from pathlib import Path
from typing import Any

from markupsafe import Markup
from pygments import highlight
from pygments.formatters import HtmlFormatter
from pygments.lexers import PythonLexer

CONTEXT = 3
"""Equal lines shown around what differs."""


def twins(root: Path) -> list[dict[str, Any]]:
    """Return the hunks of each pair of modules, the one with most different lines first.

    Args:
        root: Folder that holds both packages.
    """
    found = []
    for path in sorted((root / "tf_reference").glob("*.py")):
        reference, port = path.read_text(), (root / "torch_port" / path.name).read_text()
        matcher = difflib.SequenceMatcher(
            None, reference.splitlines(), port.splitlines(), autojunk=False
        )
        changed = [code for code in matcher.get_opcodes() if code[0] != "equal"]
        sides = [highlighted(source) for source in (reference, port)]
        found.append(
            {
                "name": path.name,
                "removed": sum(b - a for _, a, b, _, _ in changed),
                "added": sum(d - c for _, _, _, c, d in changed),
                "hunks": [
                    [row for code in group for row in _rows(code, *sides)]
                    for group in matcher.get_grouped_opcodes(CONTEXT)
                ],
            }
        )
    return found


def highlighted(source: str) -> list[Markup]:
    """Return the lines of a Python source as HTML, its markup escaped."""
    lexer = PythonLexer(stripnl=False)
    html = highlight(source, lexer, HtmlFormatter(nowrap=True))
    return [Markup(line) for line in html.splitlines()]  # noqa: S704 (Pygments escapes it)


def _rows(
    code: tuple[str, int, int, int, int], reference: list[Markup], port: list[Markup]
) -> list[dict[str, Any]]:
    """Return the rows of one stretch: a line of each side, where there is one."""
    kind, a, b, c, d = code
    lefts = [(number + 1, reference[number]) for number in range(a, b)]
    rights = [(number + 1, port[number]) for number in range(c, d)]
    return [
        {"equal": kind == "equal", "left": left, "right": right}
        for left, right in zip_longest(lefts, rights)
    ]
