"""The process of a command: its streams, its signals and its exit status."""

import contextlib
import ctypes
import errno
import multiprocessing
import os
import signal
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any, NoReturn, TextIO, cast

from parity_tests.program.messages import UserError, say


class Ended(BaseException):
    """The process was asked to end by a signal other than that of Ctrl-C."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


class PatientOutput:
    """Standard output that goes on where it cannot be written, and remembers why.

    What a command computes and writes to files is not lost because nobody reads along.
    """

    def __init__(self, stream: TextIO) -> None:
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

    def flush(self) -> None:
        """Do nothing: each text was flushed."""

    def __getattr__(self, name: str) -> Any:
        """Be the stream in all else."""
        return getattr(self._stream, name)


def guarded(run: Callable[[], int | None]) -> int:
    """Run a command line, and return its exit status.

    Whatever the user can mend is one sentence on standard error and status 2. Any other error is
    a mistake of this program: its traceback is printed, and the status is 70. A signal ends the
    processes that were started with this one; its status is that of a shell.
    """
    _open_standard_streams()
    output = PatientOutput(sys.stdout)
    try:
        stdout = contextlib.redirect_stdout(cast(TextIO, output))
        with stdout, signals_handled(lambda number, _: end(number)):
            _check_current_folder()
            status = run() or 0
        if output.error is not None:
            raise OSError(f"standard output cannot be written: {output.error.strerror}")
    except mendable_errors() as error:
        say(described(error))
        status = 2
    except Exception:  # noqa: BLE001 (its traceback is printed)
        traceback.print_exc()
        say("this is a mistake of the program, not yours: please report what stands above")
        status = os.EX_SOFTWARE
    except KeyboardInterrupt:
        status = 128 + signal.SIGINT
    except Ended as ended:
        if ended.number == getattr(signal, "SIGXCPU", None):
            say("the time that `ulimit -t` allows is over")
        status = 128 + ended.number
    return status


def mendable_errors() -> tuple[type[Exception], ...]:
    """Return the errors that a user can mend: ours, the system's, and those of the packages."""
    packages = [sys.modules.get(f"{name}.framework") for name in ("torch_port", "tf_reference")]
    return UserError, OSError, MemoryError, *(p.ArgumentError for p in packages if p)


LIMITS: dict[int | None, str] = {errno.EFBIG: "ulimit -f", errno.EMFILE: "ulimit -n"}
"""By what the system answers, the limit of this process that may be the cause."""


def described(error: BaseException) -> str:
    """Return what an error says; of one that the system raised, its file and its reason."""
    said = " ".join(str(error).split()) or type(error).__name__
    if isinstance(error, OSError) and error.filename is not None and error.strerror:
        said = f"{os.fsdecode(error.filename)}: {error.strerror}"
    if isinstance(error, MemoryError) or "failed to map segment" in said:  # of a library
        with contextlib.suppress(ImportError):  # a system without limits
            import resource

            allowed, _ = resource.getrlimit(resource.RLIMIT_AS)
            if allowed != resource.RLIM_INFINITY:
                return f"{said}; `ulimit -v` allows {allowed // 1024} kB: raise it"
    limit = LIMITS.get(getattr(error.__cause__ or error, "errno", None))
    return f"{said}; see `{limit}`" if limit else said


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

    Of each, the list holds the number and the time when it came, by `time.monotonic`.
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
