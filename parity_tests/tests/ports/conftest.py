"""What the tests of ports share: recordings of the reference, and `check` by command line."""

import functools

import pytest

from parity_tests.__main__ import main
from parity_tests.ports.recording import record


@pytest.fixture(scope="session")
def recording(data, tmp_path_factory):
    """A recording of the reference, in a dtype and of hidden layers, without whole epochs."""

    @functools.cache
    def recording(dtype, hidden=(32,)):
        folder = tmp_path_factory.mktemp(dtype)
        record(folder, data=data, dtype=dtype, hidden=hidden, epochs=0)
        return folder

    return recording


@pytest.fixture
def check(data, tmp_path, status_of, capfd, recording):
    """Write a port to a file and check it; return exit status, output and errors."""

    def check(
        source,
        *options,
        dtype="float64",
        hidden=(32,),
        epochs=0,
        name="port.py",
        beside_tensorflow=False,
    ):
        path = tmp_path / name
        path.write_bytes(source if isinstance(source, bytes) else source.encode())
        # A recording answers as the reference does, and faster; it has no whole epochs.
        of_reference = ()
        if epochs or beside_tensorflow:
            of_reference = "--dtype", dtype
        elif "--recording" not in options:
            of_reference = "--recording", recording(dtype, hidden)
        options = "--data", data, "--epochs", epochs, *of_reference, *options
        status = status_of(main, "check", path, *options)
        return status, *capfd.readouterr()

    return check
