"""Files: what is read is a file, what is written is whole, and nothing is written over."""

import json
import os
import stat
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, NoReturn

from .arguments import shown

LARGEST_DOCUMENT = 100_000_000
"""Bytes of a JSON document that is read at all, which is what safetensors allows a header."""


def as_path(path: str | bytes | os.PathLike) -> Path:
    """Return a path, whatever holds it.

    Raises:
        ValueError: If it is no path that a system can have.
    """
    try:
        text = os.fsdecode(path)
        os.fsencode(text)
    except (TypeError, UnicodeEncodeError):
        text = ""
    if not text or "\0" in text:
        raise ValueError(f"path is {shown(repr(path))}: expected that of a file or a folder")
    return Path(text)


def check_input(path: str | os.PathLike, what: str) -> Path:
    """Return a path as a `Path`, if a file to be read is there.

    Args:
        path: Links are followed.
        what: Names the file that is expected, and where it comes from.

    Raises:
        FileNotFoundError: If nothing is there.
        OSError: If it is no file, or cannot be reached.
    """
    path = as_path(path)
    _check_name(path, what)
    try:
        kind = _kind(path)
    except FileNotFoundError:
        raise FileNotFoundError(f"there is no {path}: expected {what}") from None
    except OSError as error:
        raise OSError(f"{path} cannot be read: {error.strerror}; expected {what}") from error
    if kind != "a file":
        raise OSError(f"{path} is {kind}: expected {what}")
    return path


def check_folder(path: str | os.PathLike, what: str) -> Path:
    """Return a path as a `Path`, unless something that is no folder is there.

    Raises:
        OSError: If it is no folder, or cannot be reached.
    """
    path = as_path(path)
    _check_name(path, what)
    try:
        kind = _kind(path)
    except FileNotFoundError:
        return path
    except OSError as error:
        raise OSError(f"{path} cannot be read: {error.strerror}; expected {what}") from error
    if kind != "a folder":
        raise NotADirectoryError(f"{path} is {kind}: expected {what}")
    return path


def _check_name(path: Path, what: str) -> None:
    """Refuse a name that the readers of the frameworks cannot take."""
    try:
        str(path).encode()
    except UnicodeEncodeError:
        raise OSError(f"{path} has a name that is no UTF-8: rename it; expected {what}") from None


def _kind(path: Path) -> str:
    mode = path.stat().st_mode
    if stat.S_ISDIR(mode):
        return "a folder"
    return "a file" if stat.S_ISREG(mode) else "a pipe or a device"


class Output:
    """A file to be written: nobody else writes it meanwhile, and it appears whole or not at all.

    Until then it lies beside its place, under a hidden name that ends in `.partial`, which
    is gone afterwards unless the process is killed; then the next run takes it over.

    Args:
        path: An existing file is replaced, and its mode kept. A link is followed.
        size: Bytes of the disk that are set aside before the work that fills them.

    Raises:
        OSError: If the file cannot be written, or another run is about to write it.
    """

    def __init__(self, path: str | os.PathLike, size: int = 0) -> None:
        self.path = as_path(path)
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
            self._file = open_locked(self._partial)
        except BlockingIOError:
            raise OSError(
                f"{path} is being written by another run: wait for its end, or name another file"
            ) from None
        except OSError as error:
            self._refuse(error)
        try:
            if size and hasattr(os, "posix_fallocate"):
                os.posix_fallocate(self._file.fileno(), 0, size)
        except OSError as error:
            self.close()
            self._refuse(error)

    def _refuse(self, error: OSError) -> NoReturn:
        raise OSError(
            f"{self.path} cannot be written: {self._target.parent}: {error.strerror}"
        ) from error

    def write(self, content: bytes) -> None:
        """Write the whole file, down to the disk.

        Raises:
            OSError: If that fails; what was there before still is.
        """
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

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close it."""
        self.close()


def open_locked(path: Path) -> Any:
    """Open a file to be read and written, which is made if need be, and lock it.

    Raises:
        BlockingIOError: If another process has locked it.
        OSError: If it cannot be opened.
    """
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
        except OSError:
            file.close()
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

    Args:
        outputs: Written later; None where nothing is to be written.
        inputs: Read before; None where nothing is.
        folder: In which none of them may lie: it belongs to checkpoints or to a recording.

    Raises:
        OSError: If a file cannot be written.
        ValueError: If a file would be written over another one of these, by whatever name.
    """
    taken = {_identity(path) for path in inputs if path is not None}
    for path in outputs:
        if path is not None:
            Output(path).close()
            if folder and Path(os.path.realpath(path)).parent == Path(os.path.realpath(folder)):
                raise ValueError(f"{path} lies in {folder}, which is no place for it: name another")
            if _identity(path) in taken:
                raise ValueError(f"{path} is named twice: expected a file of its own")
            taken.add(_identity(path))


def _identity(path: str | os.PathLike) -> object:
    """Return what two names of one file have in common: its place on the disk, or its path."""
    with suppress(OSError):
        found = os.stat(path)
        return found.st_dev, found.st_ino
    return os.path.realpath(path)


def write_whole(path: str | os.PathLike, content: bytes) -> None:
    """Write a file, which appears whole or not at all.

    Raises:
        OSError: If the file cannot be written.
    """
    with Output(path, len(content)) as output:
        output.write(content)


def write_or_rescue(
    path: str | os.PathLike, content: bytes, what: str, output: Output | None = None
) -> None:
    """Write what took long to compute; where that fails, write it to some other place.

    Args:
        path: The place that was asked for.
        content: Of the file.
        what: Names the content in the message.
        output: The same place, if it was claimed before.

    Raises:
        OSError: If it could not be written where it should; it says where it is.
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


def read_json(content: bytes, what: str) -> Any:
    """Return what a JSON document holds that may have been made by anybody.

    Raises:
        ValueError: If it is none, is too large or too deep, or has a name twice or a number
            that is not finite.
    """

    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for name, value in pairs:
            if name in found:
                raise ValueError(f"it holds {shown(name)} twice")
            found[name] = value
        return found

    def refuse(constant: str) -> NoReturn:
        raise ValueError(f"it holds {constant}, which is no number")

    try:
        if len(content) > LARGEST_DOCUMENT:
            raise ValueError(f"it has {len(content):,} bytes, above {LARGEST_DOCUMENT:,}")
        return json.loads(content, object_pairs_hook=once, parse_constant=refuse)
    except RecursionError:
        raise ValueError(f"{what} cannot be read: it is nested too deeply") from None
    except ValueError as error:
        raise ValueError(f"{what} cannot be read: {shown(str(error))}") from error


def check_fields(document: Any, fields: Mapping[str, type], what: str) -> None:
    """Refuse a document unless it holds values of the right types under the right names.

    Raises:
        ValueError: With the name of the field.
    """
    if not isinstance(document, dict):
        raise ValueError(f"{what} cannot be read: it holds no fields")
    for name, kind in fields.items():
        if name not in document:
            raise ValueError(f"{what} lacks the field {name!r}")
        value = document[name]
        if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
            raise ValueError(f"{what} holds {name!r} as {shown(value)}: expected {kind.__name__}")
