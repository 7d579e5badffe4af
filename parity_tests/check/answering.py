"""The end of a connection that answers: in the process of a user's port, or of a Keras model."""

import contextlib
import io
import os
import sys
import traceback
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any

from parity_tests.check.messages import NotObservable, UnusablePort, decode, encode


def answer_calls(
    connection: Connection, path: str, answer: Callable[..., tuple[dict[str, Any], dict]]
) -> None:  # pragma: no cover (in the other process)
    """Answer calls about a file until the other end is closed.

    Args:
        connection: To whoever asks.
        path: Of the file, whose lines an error names.
        answer: Takes arrays by name and the options of a call; returns what is said, and arrays.
    """
    while True:
        try:
            asked, arrays = decode(connection.recv_bytes())
        except EOFError:
            return
        try:
            # What they print is not part of the answer.
            with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(sys.stdout):
                said, found = answer(arrays, **asked)
            message = encode(said, found)
        except NotObservable as error:
            message = encode({"unseen": str(error)}, {})
        except UnusablePort as error:
            message = encode({"unusable": str(error)}, {})
        except BaseException as error:  # noqa: BLE001 (whatever their file raises is the answer)
            message = encode({"error": described(error, path)}, {})
        connection.send_bytes(message)


def described(error: BaseException, path: str) -> str:
    """Return an error in words, with the line of the program that raised it."""
    frames = reversed(traceback.extract_tb(error.__traceback__))
    line = next((frame.lineno for frame in frames if frame.filename == path), None)
    text = " ".join(str(error).split())
    if isinstance(error, SystemExit):
        text = f"it exits with status {error.code}"
        written = getattr(sys.stderr, "getvalue", str)().splitlines()
        text += f": {written[-1]}" if written else ""  # as a parser of options says why
    else:
        text = f"{type(error).__name__}: {text}"
    if isinstance(error, FileNotFoundError) and not os.path.isabs(str(error.filename or "/")):
        text += (
            "; a file runs in a temporary folder, with copies of the files that its strings name: "
            "open others beside __file__"
        )
    return text + (f" (line {line})" if line else "")


def answer_of(child: int, answers: Connection) -> bytes:
    """Return the message of a child, or that it ended without one."""
    try:
        message = answers.recv_bytes()
    except EOFError:
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        return encode({"died": status}, {})
    finally:
        answers.close()
    os.waitpid(child, 0)
    return message
