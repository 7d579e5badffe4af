"""What an execution is, and what fails it."""

import contextlib
import functools
import io
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from parity_tests.program import process

LONGEST = 2000
"""Characters of a message."""


@dataclass(frozen=True)
class Target:
    """A reader that is fuzzed.

    Attributes:
        make: Returns a function that has the reader read any bytes, and holds what it returns to
            be right. It may write to the current folder, and leaves nothing there.
        seeds: Returns right content, from which others are made.
        executions: Of `make fuzz`.
        refusals: The errors by which the reader refuses what it is given; None for those that the
            program takes for what a user can mend, of which a lack of memory is none here.
        allowed: Audit events that are its work, though they are nobody else's.
    """

    make: Callable[[], Callable[[bytes], None]]
    seeds: Callable[[], tuple[bytes, ...]]
    executions: int
    refusals: tuple[type[Exception], ...] | None = None
    allowed: tuple[str, ...] = ()


class EscapeError(AssertionError):
    """A reader wrote outside of its folder, ran a program, unpickled, or used the network."""


CHANGES = {"os.mkdir", "os.remove", "os.rename", "os.rmdir", "os.link", "os.symlink", "os.truncate"}
ESCAPES = {"subprocess.Popen", "os.system", "os.posix_spawn", "pickle.find_class", "socket.connect"}
WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC
ESCAPED: list[str] = []


@functools.cache
def watch_escapes(folder: Path) -> None:
    """From now on, note what this process does outside of a folder that no reader should do."""

    def watch(event: str, arguments: tuple) -> None:
        if event in ESCAPES:
            ESCAPED.append(event)
        writes = event in CHANGES or (event == "open" and (arguments[2] or 0) & WRITES)
        if writes and isinstance(arguments[0], str | bytes | os.PathLike):
            try:
                path = os.path.realpath(os.fsdecode(arguments[0]))
            except FileNotFoundError:  # the current folder itself is removed at the end
                return
            if path != os.devnull and not Path(path).is_relative_to(folder):
                ESCAPED.append(f"{event} of {path}")

    sys.addaudithook(watch)


def execute(target: Target, read: Callable[[bytes], None], content: bytes) -> str:
    """Have a reader read some bytes in the current folder; return what it says.

    Raises:
        EscapeError: If it did what no reader should.
        AssertionError: If its message is no sentence, or files are left.
    """
    ESCAPED.clear()
    mendable = tuple(kind for kind in process.mendable_errors() if kind is not MemoryError)
    refusals = target.refusals or mendable
    try:
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            read(content)
        said = "read"
    except refusals as error:
        said = str(error)
    if escaped := [event for event in ESCAPED if event not in target.allowed]:
        raise EscapeError(f"the reader did: {', '.join(escaped)}")
    if not 0 < len(said) < LONGEST:
        raise AssertionError(f"the message has {len(said)} characters")
    if left := os.listdir():
        raise AssertionError(f"the reader left {left}")
    return said


@contextlib.contextmanager
def file(name: str, content: bytes) -> Any:
    """Yield the path of a file that is there meanwhile."""
    path = Path(name)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    try:
        yield path
    finally:
        path.unlink()
        for folder in [*path.parents][:-1]:
            folder.rmdir()
