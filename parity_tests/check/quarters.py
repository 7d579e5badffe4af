"""The temporary folders and the environment in which a stranger's file runs."""

import ast
import os
import re
import shutil
import tempfile
from contextlib import suppress
from pathlib import Path

from parity_tests.check import source
from parity_tests.check.containment import working_folder
from parity_tests.check.messages import UnusablePort

SECRET = re.compile(
    r"TOKEN(?!IZ)|SECRET|PASSW|PASSPHRASE|CREDENTIAL|COOKIE|AUTH(?!OR)|KEYS?(_|\d|$)|_PWD$|_PASS$",
    re.IGNORECASE,
)
"""In the name of an environment variable that may hold a secret."""

PASSWORD = re.compile(r"://[^/\s]*:[^/\s]*@")
"""In the value of one: a URL with a password in it."""

CACHES = {"XDG_CACHE_HOME": ".cache", "KERAS_HOME": ".keras"}
"""Folders of the user's home that stay in use, so that nothing is downloaded twice."""


class Quarters:
    """The temporary folders in which a file runs, and its environment.

    Files that the strings in the file name, in the current folder or beside the file, are copied
    to its working folder. Folders, which may hold a large data set, are linked.

    Args:
        path: Of the file.

    Attributes:
        folder: Holds the home, the working folder and the folder for temporary files.
        environment: Its variables, without those that look like a secret.
    """

    def __init__(self, path: Path) -> None:
        self._temporary = tempfile.TemporaryDirectory(
            prefix="naive-parity-", ignore_cleanup_errors=True
        )
        self.folder = Path(self._temporary.name)
        for name in ("home", "tmp", "1/2/work"):  # "../data" is in it as well
            (self.folder / name).mkdir(parents=True)
        self.environment = without_secrets(dict(os.environ))
        self.environment |= {
            "HOME": str(self.folder / "home"),
            "TMPDIR": str(self.folder / "tmp"),
            "PWD": str(working_folder(self.folder)),
            "PYTHONSAFEPATH": "1",  # until it is contained, nothing of the current folder is run
        }
        for name, cache in CACHES.items():
            if (place := Path.home() / cache).is_dir():
                self.environment.setdefault(name, str(place))
        with suppress(UnusablePort):  # who runs it will say so
            strings = {
                node.value
                for node in ast.walk(source.parse(path))
                if isinstance(node, ast.Constant) and isinstance(node.value, str)
            }
            for text in sorted(strings, key=lambda text: (text.count("/"), text)):
                self._lend(text, path)

    def _lend(self, text: str, path: Path) -> None:
        """Let a file find what it may be about to open."""
        place = Path(os.path.normpath(working_folder(self.folder) / text))
        if not place.is_relative_to(self.folder):
            return
        for folder in (Path.cwd(), path.absolute().parent):
            with suppress(OSError, ValueError):  # the text is no path
                if (found := folder / text).is_file():
                    self._unfold(place.parent)
                    if place.is_symlink() or not place.exists():
                        place.unlink(missing_ok=True)
                        shutil.copy(found, place)
                    return
                if found.is_dir() and not place.exists():
                    self._unfold(place.parent)
                    place.symlink_to(found.resolve(), target_is_directory=True)

    def _unfold(self, folder: Path) -> None:
        """Make a folder, in which links to its entries take the place of a link to the whole."""
        for part in (*reversed(folder.parents), folder):
            if part.is_relative_to(self.folder) and part.is_symlink():
                lent = part.resolve()
                part.unlink()
                part.mkdir()
                for entry in lent.iterdir():
                    (part / entry.name).symlink_to(entry)
        folder.mkdir(parents=True, exist_ok=True)

    def close(self) -> None:
        """Remove the folders, if they are still there."""
        self._temporary.cleanup()


def without_secrets(environment: dict[str, str]) -> dict[str, str]:
    """Return the variables that do not look like a secret."""
    return {
        name: value
        for name, value in environment.items()
        if not (SECRET.search(name) or PASSWORD.search(value))
    }
