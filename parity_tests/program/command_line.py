"""The command line: its commands, and how the text of an option becomes a value."""

import os
import re
import shutil
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, get_args, get_origin

import cyclopts

from parity_tests.program.messages import UserError, shown

NARROWEST = 40
"""Columns of the help; in a few of them, the library that draws it would never end."""

READERS: dict[Any, tuple[str, str]] = {
    int: ("[+-]?[0-9]{1,18}", "a whole number"),
    float: (r"[+-]?[0-9.]+(e[+-]?[0-9]+)?", "a finite number"),
    Path: (".+", "a path"),
}
"""How the text of each type looks, of which Python reads more, and what a message calls it."""


def read(kind: Any, tokens: Sequence[cyclopts.Token]) -> Any:
    """Read an option, with or without a None in its type."""
    kinds = [part for part in get_args(kind) or [kind] if part not in (type(None), ...)]
    if get_origin(kind) is tuple:
        return tuple(read(kinds[0], [token]) for token in tokens)
    if len(kinds) > 1 or kinds[0] not in READERS:
        return cyclopts.convert(kind, tokens)
    pattern, expected = READERS[kinds[0]]
    text = tokens[0].value
    with suppress(ValueError):
        if re.fullmatch(pattern, text, re.IGNORECASE | re.DOTALL):
            return kinds[0](text)
    raise ValueError(f"it is {shown(text)}, expected {expected}")


def parse(
    arguments: Sequence[str], program: str, commands: dict[str, tuple[str, str]]
) -> Callable[[], Any]:
    """Read a command line; return the command that it names, with its options.

    The parameters of a command's function are its options. Only its module is imported.
    """
    if not arguments:
        raise UserError(f"a command is missing: see {program} --help")
    if shutil.get_terminal_size().columns < NARROWEST:
        os.environ["COLUMNS"] = str(NARROWEST)
    app = cyclopts.App(
        name=program,
        help="Train the book's network, check a port of it, and repeat what was measured.",
        version_flags=[],
        default_parameter=cyclopts.Parameter(converter=read, allow_repeating=True),
    )
    for name, (place, help_text) in commands.items():
        app.command(f"parity_tests.{place}", name=name, help=help_text)
    try:
        command, bound, _ = app.parse_args(arguments, exit_on_error=False, print_error=False)
    except cyclopts.CycloptsError as error:
        said = str(error)
        if isinstance(error, cyclopts.CoercionError) and error.argument and said == error.msg:
            name = error.argument.name
            said = f"Invalid value for {name if name[0] == '-' else name.upper()}: {said}"
        raise UserError(shown(said, 400)) from None
    return partial(command, *bound.args, **bound.kwargs)
