"""The log of a run: one JSON object a line, on its way to the disk as soon as it is known."""

import hashlib
import json
import os
from contextlib import suppress
from pathlib import Path
from typing import Any

from parity_tests.program.files import open_locked
from parity_tests.program.messages import UserError


class RunLog:
    """The log of one run, which no other run writes meanwhile.

    Args:
        path: An existing file is written over. Without a path nothing is written.
        state: Of the log of a run that was interrupted, as `state` returned it: what was written
            until then is kept, and what follows is written anew.
    """

    def __init__(self, path: Path | None, state: dict[str, Any] | None = None) -> None:
        self.path = path
        self.error: OSError | None = None
        self._sha256 = hashlib.sha256()
        self._length = 0
        if path is None:
            return
        self._file = open_locked(Path(os.path.realpath(path)), path)
        if state is not None:
            self._length = state["bytes"]
            held = os.fstat(self._file.fileno()).st_size
            self._sha256.update(self._file.read(min(self._length, held)))
            if held < self._length or self._sha256.hexdigest() != state["sha256"]:
                self._file.close()
                raise UserError(
                    f"{path} does not begin with the {self._length:,} bytes that the run had "
                    "written to its log: name that log, or begin the run anew"
                )
        self._file.truncate(self._length)

    def record(self, **values: object) -> None:
        """Write a line; where that fails, remember why, and write no more."""
        if self.path is None or self.error is not None:
            return
        line = json.dumps(values, default=str, allow_nan=False).encode() + b"\n"
        try:
            self._file.seek(0, os.SEEK_END)  # which shows it if the file is cut meanwhile
            self._file.write(line)
            self._file.flush()
        except OSError as error:
            self.error = error
            return
        self._sha256.update(line)
        self._length += len(line)

    def state(self) -> dict[str, Any] | None:
        """Return what was written, by its length and its SHA-256, once the disk has it."""
        if self.path is None:
            return None
        self.check()
        os.fsync(self._file.fileno())
        return {"bytes": self._length, "sha256": self._sha256.hexdigest()}

    def close(self) -> None:
        """Let other runs write the file."""
        if self.path is not None:
            with suppress(OSError):  # on a full disk, once more
                self._file.close()

    def check(self) -> None:
        """Raise what kept the log from being written."""
        if self.error is not None:
            raise OSError(f"{self.path} cannot be written: {self.error.strerror}; it is not whole")
        if self.path is not None:
            held, found = os.fstat(self._file.fileno()), None
            with suppress(OSError):
                found = self.path.stat()
            if found is None or not os.path.samestat(held, found) or held.st_size != self._length:
                raise OSError(f"{self.path} was moved or changed meanwhile: it is not whole")
