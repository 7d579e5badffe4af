"""The process that a stranger's file runs in: watched, and within limits.

This is no sandbox. It keeps an accident from doing harm: memory that runs out, a process that
stays, a file in the current folder that is written over. A program that means harm can still read
what its user can read, write to any path that it names, and use the network.
"""

import ctypes
import os
import resource
import runpy
import select
import shutil
import signal
import sys
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import NoReturn

LIMITS = {
    resource.RLIMIT_DATA: os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") * 3 // 4,
    resource.RLIMIT_FSIZE: 4_000_000_000,
    resource.RLIMIT_NOFILE: 4096,
    resource.RLIMIT_CORE: 0,
}
"""Of each process: bytes of memory and of a file, files that are open, bytes of a core dump."""

SET_DEATH_SIGNAL, SET_CHILD_SUBREAPER = 1, 36  # as prctl.h numbers them


def contain(folder: Path, connection: int) -> None:
    """Go on in a child of this process, within the limits, in a working folder of its own.

    This process does not return. It waits until the child or the other end of its connection is
    gone, whatever ended it. Then it ends all processes that the child started, also those that
    left its group, and removes the folder.

    Args:
        folder: Of the quarters.
        connection: The descriptor of a socket.
    """
    os.setsid()
    _set(SET_CHILD_SUBREAPER, 1)
    child = os.fork()
    if child:
        _watch_over(child, folder, connection)
    _set(SET_DEATH_SIGNAL, signal.SIGKILL)
    for kind, limit in LIMITS.items():
        hard = resource.getrlimit(kind)[1]
        limit = limit if hard == resource.RLIM_INFINITY else min(limit, hard)
        with suppress(OSError, ValueError):  # a system without this limit
            resource.setrlimit(kind, (limit, limit))
    os.environ.pop("PYTHONSAFEPATH", None)
    tempfile.tempdir = None
    os.chdir(working_folder(folder))


def _set(option: int, value: int) -> None:
    with suppress(OSError, AttributeError):  # a system other than Linux
        ctypes.CDLL(None).prctl(option, value)


def _watch_over(child: int, folder: Path, connection: int) -> NoReturn:
    """Wait for the end; then end what is left, and end as the child did."""
    other_end = select.poll()
    other_end.register(connection, 0)  # tells only that it is closed
    signal.signal(signal.SIGTERM, lambda *_: sys.exit())
    ended, status = 0, signal.SIGKILL.value
    try:
        while ended != child and not other_end.poll(50):
            ended, status = os.waitpid(-1, os.WNOHANG)  # also those whose own parent has ended
    finally:
        if ended != child:
            os.kill(child, status := signal.SIGKILL.value)
        _end_all_below()
        shutil.rmtree(folder, ignore_errors=True)
        code = os.waitstatus_to_exitcode(status)
        if code < 0:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            os.kill(os.getpid(), -code)
        os._exit(code)


def _end_all_below() -> None:
    """End the children of this process, and theirs, which are its own once their parents end."""
    while True:
        for stat in Path("/proc").glob("[0-9]*/stat"):
            with suppress(OSError):
                parent = stat.read_text(errors="replace").rpartition(")")[2].split()[1]
                if int(parent) == os.getpid():
                    os.kill(int(stat.parent.name), signal.SIGKILL)
        try:
            os.waitpid(-1, 0)
        except ChildProcessError:
            return


def working_folder(folder: Path) -> Path:
    """Return the working folder of a file, in the folder of its quarters."""
    return folder / "1" / "2" / "work"


if __name__ == "__main__":  # FOLDER MODULE FD ...: run a module, contained
    folder, sys.argv = Path(sys.argv[1]), sys.argv[2:]
    contain(folder, int(sys.argv[1]))
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
