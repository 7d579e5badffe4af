"""What the commands show on a terminal: help that fits it, and bars that a pipe never sees."""

import ast

import pytest

from parity_tests.__main__ import COMMANDS, main
from parity_tests.tests.test_house import ROOT

WITH_DEFAULTS = ("check", "convert", "fetch-mnist", "traps", "learning-rates", "rmsprop",
                 "book-numbers", "bench")  # fmt: skip
SOURCES = [
    path
    for folder in ("torch_port", "tf_reference", "parity_tests")
    for path in (ROOT / folder).rglob("*.py")
    if "tests" not in path.relative_to(ROOT / folder).parts
]


@pytest.mark.parametrize("command", [None, *WITH_DEFAULTS])
def test_the_help_of_a_command_fits_a_screen_of_48_lines(status_of, capsys, monkeypatch, command):
    monkeypatch.setenv("COLUMNS", "80")
    assert status_of(main, *filter(None, [command]), "--help") == 0
    shown = capsys.readouterr().out
    assert len(shown.splitlines()) <= 48
    assert command is None or "[default: " in shown
    assert "\033[" not in shown


def test_the_help_of_the_program_names_every_command(status_of, capsys):
    status_of(main, "--help")
    shown = capsys.readouterr().out
    assert set(WITH_DEFAULTS) < set(COMMANDS)
    assert all(f" {command} " in shown for command in COMMANDS)


def bars(source):
    """Return the keywords of each bar that a source makes."""
    calls = [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Call)]
    return [
        {keyword.arg: ast.unparse(keyword.value) for keyword in call.keywords}
        for call in calls
        if ast.unparse(call.func) == "tqdm"
    ]


def test_every_bar_is_left_out_where_standard_error_is_no_terminal():
    found = {path: bars(path.read_text()) for path in SOURCES}
    assert sum(map(len, found.values())) >= 9
    assert [
        path
        for path, of in found.items()
        if any(bar.get("disable") not in ("None", "None if prints else True") for bar in of)
    ] == []


def test_a_bar_in_a_pipe_would_be_seen():
    assert bars("for x in tqdm(y, unit='step'): pass") == [{"unit": "'step'"}]
