"""A check that is ended takes with it the process of the port, and all that the port started."""

import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path

import pytest

from parity_tests.tests.check.sources import BOOK

SLEEPS = """
import os, pathlib, subprocess, time
child = subprocess.Popen(["sleep", "100"])
pathlib.Path(__file__).with_name("pids").write_text(f"{os.getpid()} {child.pid}")
time.sleep(100)
"""


def running(pid):
    with suppress(FileNotFoundError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    return False


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_a_check_with_all_that_the_port_started(check, tmp_path, number):
    pids = tmp_path / "pids"

    def send_once_it_runs():
        while not (pids.exists() and len(pids.read_text().split()) == 2):
            time.sleep(0.05)
        os.kill(os.getpid(), number)

    thread = threading.Thread(target=send_once_it_runs)
    thread.start()
    status, *_ = check(SLEEPS + BOOK)
    thread.join()
    assert status == 128 + number
    deadline = time.monotonic() + 10
    while any(map(running, pids.read_text().split())):
        assert time.monotonic() < deadline


@pytest.mark.soak
def test_a_check_that_is_killed_leaves_no_process_of_the_port(data, tmp_path):
    (tmp_path / "port.py").write_text(SLEEPS + BOOK)
    command = [sys.executable, "-m", "parity_tests", "check", tmp_path / "port.py", "--data", data]
    with subprocess.Popen(command) as process:
        pids = tmp_path / "pids"
        while not (pids.exists() and len(pids.read_text().split()) == 2):
            time.sleep(0.05)
        process.kill()
    deadline = time.monotonic() + 10
    while any(map(running, pids.read_text().split())):
        assert time.monotonic() < deadline
