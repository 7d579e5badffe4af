"""Files: what is read is a file, what is written is whole, and nothing is written over."""

import os
import stat
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NoReturn

from parity_tests.program.messages import UserError


def check_input(path: Path, what: str) -> None:
    """Refuse a path unless a file to be read is there; `what` says what it is, and from where."""
    _check_kind(path, "a file", what)


def check_folder(path: Path, what: str) -> None:
    """Refuse a path if something that is no folder is there."""
    with suppress(FileNotFoundError):
        _check_kind(path, "a folder", what)


def _check_kind(path: Path, wanted: str, what: str) -> None:
    try:
        str(path).encode()
        kind = _kind(path)
        if kind == wanted == "a file":
            with path.open("rb") as file:
                file.read(1)
    except UnicodeEncodeError:  # which the readers of the frameworks cannot take
        raise OSError(f"{path} has a name that is no UTF-8: rename it; expected {what}") from None
    except FileNotFoundError:
        raise FileNotFoundError(f"there is no {path}: expected {what}") from None
    except OSError as error:
        raise OSError(f"{path} cannot be read: {error.strerror}; expected {what}") from error
    if kind != wanted:
        raise OSError(f"{path} is {kind}: expected {what}")


def _kind(path: Path) -> str:
    mode = path.stat().st_mode
    if stat.S_ISDIR(mode):
        return "a folder"
    return "a file" if stat.S_ISREG(mode) else "a pipe or a device"


def check_data(folder: Path) -> None:
    """Refuse a folder of MNIST in whose way something else is."""
    raw = folder / "MNIST" / "raw"
    for part in (folder, raw.parent, raw):
        check_folder(part, "the folder that holds MNIST in MNIST/raw, as `make data` makes it")


class Output:
    """A file to be written: nobody else writes it meanwhile, and it appears whole or not at all.

    Until then it lies beside its place, under a hidden name that ends in `.partial`, which
    is gone afterwards unless the process is killed; then the next run takes it over.

    Args:
        path: An existing file is replaced, and its mode kept. A link is followed.
        size: Bytes of the disk that are set aside before the work that fills them.
    """

    def __init__(self, path: str | os.PathLike, size: int = 0) -> None:
        self.path = Path(path)
        self._target = Path(os.path.realpath(self.path))
        self._partial = self._target.with_name(f".{self._target.name}.partial")
        try:
            kind = _kind(self._target)
        except FileNotFoundError:
            kind = "a file"  # as it will be
        except OSError as error:
            self._refuse(error)
        if kind != "a file":
            raise OSError(f"{path} cannot be written: it is {kind}, expected a file")
        try:
            self._file = open_locked(self._partial, self.path)
        except OSError as error:
            self._refuse(error)
        try:
            if size and hasattr(os, "posix_fallocate"):
                os.posix_fallocate(self._file.fileno(), 0, size)
        except OSError as error:
            self.close()
            self._refuse(error)

    def _refuse(self, error: OSError) -> NoReturn:
        if error.errno is None:  # it says all
            raise error
        raise OSError(
            f"{self.path} cannot be written: {self._target.parent}: {error.strerror}"
        ) from error

    def write(self, content: bytes) -> None:
        """Write the whole file, down to the disk."""
        try:
            with suppress(FileNotFoundError):  # a new file has the mode that the umask leaves
                self._partial.chmod(stat.S_IMODE(self._target.stat().st_mode))
            self._file.seek(0)
            self._file.write(content)
            self._file.truncate()
            self._file.flush()
            os.fsync(self._file.fileno())
            self._partial.replace(self._target)
            sync_folder(self._target.parent)
        except OSError as error:
            self._refuse(error)

    def close(self) -> None:
        """Give the place up; what was not written whole is removed."""
        with suppress(OSError):
            if os.path.samestat(self._partial.stat(), os.fstat(self._file.fileno())):
                self._partial.unlink()
        with suppress(OSError):  # on a full disk, once more
            self._file.close()

    def __enter__(self) -> "Output":
        """Return the output itself."""
        return self

    def __exit__(self, *error: object) -> None:
        """Close it."""
        self.close()


def open_locked(path: Path, name: Path) -> Any:
    """Open a file to be read and written, which is made if need be, and lock it for a name."""
    while True:
        file = os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT, 0o666), "r+b")
        try:
            with suppress(ImportError):  # a system without this lock
                import fcntl

                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.path.samestat(path.stat(), os.fstat(file.fileno())):
                return file
        except FileNotFoundError:
            pass
        except OSError as error:
            file.close()
            if isinstance(error, BlockingIOError):
                in_use = "is being written by another run: wait for its end, or name another"
                raise OSError(f"{name} {in_use}") from None
            raise
        file.close()  # who held the lock has just moved the file to its place: make another


def sync_folder(folder: Path) -> None:
    """Write the names in a folder down to the disk."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def check_outputs(
    outputs: Sequence[str | os.PathLike | None],
    inputs: Sequence[str | os.PathLike | None] = (),
    folder: Path | None = None,
) -> None:
    """Refuse paths to write to, before work is spent on their content.

    No output may lie in `folder`, which belongs to checkpoints.
    """
    taken = {_identity(path) for path in inputs if path is not None}
    for path in outputs:
        if path is not None:
            Output(path).close()
            if folder and Path(os.path.realpath(path)).parent == Path(os.path.realpath(folder)):
                raise UserError(f"{path} lies in {folder}, which is no place for it: name another")
            if _identity(path) in taken:
                raise UserError(f"{path} is named twice: expected a file of its own")
            taken.add(_identity(path))


def _identity(path: str | os.PathLike) -> object:
    """Return what two names of one file have in common: its place on the disk, or its path."""
    with suppress(OSError):
        found = os.stat(path)
        return found.st_dev, found.st_ino
    return os.path.realpath(path)


def write_whole(path: str | os.PathLike, content: bytes) -> None:
    """Write a file, which appears whole or not at all."""
    with Output(path, len(content)) as output:
        output.write(content)


def write_or_rescue(
    path: str | os.PathLike, content: bytes, what: str, output: Output | None = None
) -> None:
    """Write what took long to compute; where that fails, write it to some other place.

    The message names the content as `what`; `output` is the place, if it was claimed before.
    """
    try:
        if output is None:
            write_whole(path, content)
        else:
            output.write(content)
    except OSError as error:
        for folder in (os.curdir, tempfile.gettempdir(), os.path.expanduser("~")):
            with suppress(OSError):
                place = Path(folder, f"rescued-{os.getpid()}{Path(path).suffix}").absolute()
                write_whole(place, content)
                break
        else:
            raise OSError(f"{error}; {what} could be written nowhere else, and are lost") from error
        raise OSError(f"{error}; {what} are in {place}") from error
