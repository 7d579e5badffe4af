"""Checking anybody's port: against the book's reference, or a Keras model."""

import io
import json
import shlex
import sys
from collections.abc import Callable
from contextlib import redirect_stdout
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any, Literal

from cyclopts import Parameter

from parity_tests.check.book import examination as beside_the_book
from parity_tests.check.messages import Failed, UnusablePort
from parity_tests.check.results import Verdicts, print_wrapped
from parity_tests.page.check import check_markdown, check_page
from parity_tests.page.render import finite
from parity_tests.program.files import check_data, check_input, check_outputs, write_whole
from parity_tests.program.frameworks import installed
from parity_tests.program.messages import UserError


def check(
    port: Path,
    /,
    *,
    reference: Path | None = None,
    model: str | None = None,
    step: str | None = None,
    dtype: Literal["float32", "float64"] = "float64",
    epochs: int = 10,
    limit: float = 120.0,
    data: Path = Path("data"),
    reference_python: str = sys.executable,
    fix: Path | None = None,
    json_file: Annotated[Path | None, Parameter(name="--json")] = None,
    report: Path | None = None,
) -> None:
    """Check a port in a file of its own, rung by rung, and explain where it differs.

    The file is run as it is, in another process, and watched while it trains. If it trains nothing
    when it is run, its training step is called. The exit status is 0 if it agrees in all that was
    judged, 1 if it is another training, and 2 if it could not be judged.

    Args:
        port: The Python file, or a notebook.
        reference: Python file with a Keras model, or a .keras file, in place of the book's network.
        model: Name of the model in the port, where it trains nothing when it is run.
        step: Name of the training step in the port, likewise.
        dtype: In which the port computes: in float64, where mistakes stand out most clearly,
            float64 stands for float32 in all that a port of the book's network asks for.
        epochs: Of the whole training of the book's network, which comes last; 0 leaves it out.
        limit: Seconds within which a call of the port must come back, up to 1e6; that of a
            whole training, times its epochs; that of a Keras model, times five.
        data: Folder that holds MNIST in MNIST/raw.
        reference_python: Interpreter that runs the reference's file, and has Keras.
        fix: Write the port with all repairs to this file, and check that.
        json_file: Write the result to this file as well.
        report: Write it to this HTML file, and for a pull request to one in Markdown beside it.
    """
    _validate(port, limit, epochs, data)
    outputs = [fix, json_file, report, report and report.with_suffix(".md")]
    check_outputs(outputs, [port, reference, *installed().mnist.paths(data)])
    options: dict[str, Any] = {"model": model, "step": step, "limit": limit}
    if reference:
        options |= {"data": data, "python": reference_python}
        beside_keras = import_module("parity_tests.check.models.examination")
        examine = partial(beside_keras.examine, reference=reference, dtype=dtype, **options)
    else:
        given: dict[str, Any] = {"dtype": dtype, "epochs": epochs, "data": data}
        examine = partial(beside_the_book.examine, **given, **options)
    verdicts = examine(port)
    if fix is not None and verdicts.failed:
        _fix(verdicts, port, fix, examine)
    conclusion = verdicts.conclusion(str(port))
    found = {"port": str(port), **verdicts.as_json(), "conclusion": conclusion}
    _write(found, json_file, report)
    if verdicts.failed:
        raise Failed(conclusion)
    if not verdicts.usable:
        raise UnusablePort(conclusion)
    print_wrapped(conclusion)


def _fix(verdicts: Verdicts, port: Path, fix: Path, examine: Callable[[Path], Verdicts]) -> None:
    """Write a port with all its repairs, and check that."""
    if not verdicts.mended:
        print_wrapped(f"{fix} is not written: no change of the text of {port} was found")
        return
    write_whole(fix, verdicts.mended.encode())
    with redirect_stdout(io.StringIO()):
        again = examine(fix)
    print_wrapped(again.conclusion(str(fix)))


def _write(found: dict[str, Any], json_file: Path | None, report: Path | None) -> None:
    """Write what was found to the files that were asked for."""
    if json_file is not None:
        write_whole(json_file, (json.dumps(finite(found), indent=1) + "\n").encode())
    if report is not None:
        found["command"] = shlex.join(["naive-parity", *sys.argv[1:]])
        write_whole(report, check_page(found).encode())
        write_whole(report.with_suffix(".md"), check_markdown(found).encode())


def _validate(port: Path, limit: float, epochs: int, data: Path) -> None:
    if not str(port).isprintable():
        raise UserError(f"the name {str(port)!r} has characters that cannot be shown: rename it")
    check_input(port, "a Python file with a port in it")
    check_data(data)
    if not 0 < limit <= 1e6:
        raise UserError(f"--limit is {limit}: expected seconds, above 0 and up to 1e6")
    if epochs < 0:
        raise UserError(f"--epochs is {epochs}: expected at least 0")
