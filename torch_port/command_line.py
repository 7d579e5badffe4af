"""What a command line makes of whatever it is given: an answer, or one sentence and a status."""

import contextlib
import ctypes
import errno
import functools
import inspect
import io
import multiprocessing
import os
import re
import shutil
import signal
import sys
import time
import typing
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import FrameType
from typing import Any, Literal, NoReturn

import tyro
from tyro.conf import Positional
from tyro.constructors import ConstructorRegistry, PrimitiveConstructorSpec, PrimitiveTypeInfo

from .arguments import shown


class Unreadable:
    """The text of an option that is not of its type, until its name is known."""

    def __init__(self, text: str, expected: str) -> None:
        self.text = text
        self.expected = expected


def _whole_number(text: str) -> int:
    if not re.fullmatch(r"[+-]?[0-9]{1,4000}", text):  # Python reads 1_0 as well
        raise ValueError
    return int(text)


def _number(text: str) -> float:
    if not re.fullmatch(r"[+-]?([0-9.]+(e[+-]?[0-9]+)?|inf|infinity|nan)", text, re.IGNORECASE):
        raise ValueError  # Python reads digits of other scripts as well
    return float(text)


def _path(text: str) -> Path:
    if not text:
        raise ValueError
    return Path(text)


READERS: dict[Any, tuple[Callable[[str], Any], str, str]] = {
    int: (_whole_number, "INT", "a whole number"),
    float: (_number, "FLOAT", "a number"),
    Path: (_path, "PATH", "a path"),
}
"""How each type of option is read, what the help calls it, and what a message calls it."""

NARROWEST = 40
"""Columns of a terminal for which the help is drawn; tyro draws for ever if there are too few."""

REGISTRY = ConstructorRegistry()


@REGISTRY.primitive_rule
def read(info: PrimitiveTypeInfo) -> PrimitiveConstructorSpec | None:
    """Read an option of one of the types above, or of a few words, with or without a None."""
    kinds = [kind for kind in typing.get_args(info.type) if kind is not type(None)]
    kind = kinds[0] if len(kinds) == 1 else info.type
    if typing.get_origin(kind) is Literal:
        words = typing.get_args(kind)
        read_text: Callable = dict(zip(words, words, strict=True)).__getitem__
        metavar, expected = f"{{{','.join(words)}}}", " or ".join(words)
    elif kind in READERS:
        read_text, metavar, expected = READERS[kind]
    else:
        return None

    def read_or_keep(texts: list[str]) -> Any:
        try:
            return read_text(texts[0])
        except (KeyError, ValueError):
            return Unreadable(texts[0], expected)

    return PrimitiveConstructorSpec(
        nargs=1,
        metavar=metavar,
        instance_from_str=read_or_keep,
        is_instance=lambda value: True,
        str_from_instance=lambda value: [str(value)],
    )


def parse(commands: Mapping[str, Callable], program: str) -> Callable[[], Any]:
    """Read the command line; return the command that it names, with its options.

    Args:
        commands: The functions by name. Their parameters are the options.
        program: As the user calls it.

    Raises:
        ValueError: If the command line names an option that there is not, or gives one a value
            that is not of its type.
        SystemExit: If it asks for help, which is printed.
    """

    def deferred(command: Callable) -> Callable:
        @functools.wraps(command)
        def call(*values: Any, **options: Any) -> Callable[[], Any]:
            given = inspect.signature(command).bind(*values, **options).arguments
            for name, value in given.items():
                for part in value if isinstance(value, tuple) else (value,):
                    if isinstance(part, Unreadable):
                        kinds = typing.get_type_hints(command, include_extras=True)
                        positional = kinds[name] == Positional[Path]
                        option = name.upper() if positional else f"--{name.replace('_', '-')}"
                        text = shown(part.text)
                        raise ValueError(f"{option} is {text}: expected {part.expected}")
            return functools.partial(command, *values, **options)

        return call

    first = sys.argv[1] if len(sys.argv) > 1 else ""
    if first not in (*commands, "-h", "--help") and not first.startswith("--tyro-"):
        found = f"there is no command {shown(first)}" if first else "a command is missing"
        raise ValueError(f"{found}: expected {', '.join(commands)}; see {program} --help")
    if shutil.get_terminal_size().columns < NARROWEST:
        os.environ["COLUMNS"] = str(NARROWEST)
    said = io.StringIO()
    try:
        with contextlib.redirect_stderr(said):
            return tyro.extras.subcommand_cli_from_dict(
                {name: deferred(command) for name, command in commands.items()},
                prog=program,
                registry=REGISTRY,
            )
    except SystemExit as end:
        if end.code:
            raise ValueError(_one_sentence(said.getvalue())) from None
        raise


def _one_sentence(box: str) -> str:
    """Return what stands in a box of tyro's, below its title; lines divide its sections."""
    lines = [line.strip("│ ") for line in box.splitlines()[1:] if not line.startswith("╰")]
    sections = [part.strip(" .:") for part in re.split(r"[─-]{5,}", " ".join(lines))]
    return "; ".join(shown(section, 400) for section in sections if section)


class Ended(BaseException):
    """The process was asked to end by a signal other than that of Ctrl-C."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


class PatientOutput(io.TextIOBase):
    """Standard output that goes on where it cannot be written, and remembers why.

    What a command computes and writes to files is not lost because nobody reads along.
    """

    def __init__(self, stream: typing.TextIO) -> None:
        self._stream = stream
        self.error: OSError | None = None

    def write(self, text: str) -> int:
        """Write text down to the descriptor, unless that has failed before."""
        if self.error is None:
            try:
                self._stream.write(text)
                self._stream.flush()
            except OSError as error:
                self.error = error
                with contextlib.suppress(OSError), open(os.devnull, "w") as nowhere:
                    os.dup2(nowhere.fileno(), self._stream.fileno())  # or the rest fails at the end
        return len(text)

    def isatty(self) -> bool:
        """Return whether a person reads along."""
        return self._stream.isatty()

    def fileno(self) -> int:
        """Return the descriptor."""
        return self._stream.fileno()

    @property
    def encoding(self) -> str:  # type: ignore[override]
        """The encoding of the stream, which decides how tyro draws."""
        return self._stream.encoding


def guarded(run: Callable[[], int | None], name: str) -> int:
    """Run a command line, and return its exit status.

    Whatever the user can mend is one sentence on standard error and status 2. A signal ends
    the processes that were started with this one; its status is that of a shell.

    Args:
        run: Returns a status, or None for 0.
        name: Begins each sentence.
    """
    _open_standard_streams()
    output = PatientOutput(sys.stdout)
    try:
        with contextlib.redirect_stdout(output), signals_handled(lambda number, _: end(number)):
            _check_current_folder()
            try:
                status = run() or 0
            except SystemExit as end_of_help:
                if end_of_help.code:
                    raise
                status = 0
        if output.error is not None:
            raise OSError(f"standard output cannot be written: {output.error.strerror}")
    except (ImportError, MemoryError, OSError, ValueError) as error:
        say(f"{name}: {described(error)}")
        status = 2
    except KeyboardInterrupt:
        status = 128 + signal.SIGINT
    except Ended as ended:
        if ended.number == getattr(signal, "SIGXCPU", None):
            say(f"{name}: the time that `ulimit -t` allows is over")
        status = 128 + ended.number
    return status


LIMITS: dict[int | None, str] = {errno.EFBIG: "ulimit -f", errno.EMFILE: "ulimit -n"}
"""By what the system answers, the limit of this process that may be the cause."""


def described(error: BaseException) -> str:
    """Return what an error says; of one that the system raised, its file and its reason."""
    said = " ".join(str(error).split()) or type(error).__name__
    if isinstance(error, OSError) and error.filename is not None and error.strerror:
        said = f"{os.fsdecode(error.filename)}: {error.strerror}"
    if isinstance(error, MemoryError) or "failed to map segment" in said:  # of a library
        return said + _memory_limit()
    limit = LIMITS.get(getattr(error.__cause__ or error, "errno", None))
    return f"{said}; see `{limit}`" if limit else said


def _memory_limit() -> str:
    """Return what is to be done where a limit leaves this process too little memory."""
    with contextlib.suppress(ImportError):  # a system without limits
        import resource

        allowed, _ = resource.getrlimit(resource.RLIMIT_AS)
        if allowed != resource.RLIM_INFINITY:
            return f"; `ulimit -v` allows {allowed // 1024} kB: raise it"
    return ""


def say(sentence: str) -> None:
    """Print a sentence on standard error, if that can be written."""
    sentence = sentence.encode(errors="backslashreplace").decode()  # a path may be no text
    with contextlib.suppress(OSError):
        print(sentence, file=sys.stderr, flush=True)


def _open_standard_streams() -> None:
    """Open what is closed, or the first file to be opened would be taken for it."""
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # the lowest one that is free
    sys.stdout = sys.stdout or os.fdopen(os.open(os.devnull, os.O_WRONLY), "w")
    sys.stderr = sys.stderr or os.fdopen(os.open(os.devnull, os.O_WRONLY), "w")


def _check_current_folder() -> None:
    """Refuse to begin in a folder that was removed, where libraries fail far from the cause."""
    try:
        os.getcwd()
    except FileNotFoundError:
        raise OSError("the current folder was removed: change to another one") from None


def end(number: int) -> NoReturn:
    """End this process as a signal asks for, and before it those that it started."""
    for child in multiprocessing.active_children():
        child.terminate()
    if number == signal.SIGINT:
        raise KeyboardInterrupt
    raise Ended(number)


@contextlib.contextmanager
def signals_handled(handler: Callable[[int, FrameType | None], None]) -> Iterator[None]:
    """Let a handler take the signals that ask for the end, and put back what took them before.

    What is ignored stays ignored, as `nohup` has it.
    """
    known = "SIGINT", "SIGTERM", "SIGHUP", "SIGXCPU"
    names = [name for name in known if hasattr(signal, name)]
    before = {name: signal.getsignal(getattr(signal, name)) for name in names}
    try:
        for name, earlier in before.items():
            if earlier != signal.SIG_IGN:
                signal.signal(getattr(signal, name), handler)
        yield
    finally:
        for name, earlier in before.items():
            signal.signal(getattr(signal, name), earlier)


@contextlib.contextmanager
def signals_held_back(wanted: bool) -> Iterator[list[tuple[int, float]]]:
    """Meanwhile, keep a signal that asks for the end in a list; a second one ends at once.

    Yields:
        The list, of the number of the signal and the time when it came, by `time.monotonic`.
    """
    waiting: list[tuple[int, float]] = []

    def keep(number: int, frame: FrameType | None) -> None:
        if waiting:
            end(number)
        waiting.append((number, time.monotonic()))

    with signals_handled(keep) if wanted else contextlib.nullcontext():
        yield waiting


def end_with_parent() -> None:
    """Let this process be killed when the one that started it ends, whatever ended that."""
    with contextlib.suppress(OSError, AttributeError):  # a system other than Linux
        set_death_signal = 1  # as prctl.h numbers it
        ctypes.CDLL(None).prctl(set_death_signal, signal.SIGKILL)
