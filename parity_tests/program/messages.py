"""What is said to a user: one sentence, on standard error."""

import contextlib
import sys


class UserError(ValueError):
    """What the user can mend: an option, a file, or what is not installed."""


def shown(value: object, longest: int = 60) -> str:
    """Return a value as a message shows it: in its own words, but never long."""
    text = value if isinstance(value, str) and value == value.strip() else repr(value)
    text = " ".join(text.split()) or "empty"
    return text if len(text) <= longest else f"{text[: longest - 10]}... ({len(text)} characters)"


def say(sentence: str) -> None:
    """Print a sentence on standard error after the program's name, if that can be written."""
    sentence = sentence.encode(errors="backslashreplace").decode()  # a path may be no text
    with contextlib.suppress(OSError):
        print(f"naive-parity: {sentence}", file=sys.stderr, flush=True)
