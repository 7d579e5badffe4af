"""What the tests of the check share: `check` by command line."""

import pytest

from parity_tests.__main__ import main


@pytest.fixture
def check(data, tmp_path, status_of, capfd):
    """Write a program to a file and check it; return exit status, output and errors."""

    def check(source, *options, dtype="float64", epochs=0, name="port.py"):
        path = tmp_path / name
        path.write_bytes(source if isinstance(source, bytes) else source.encode())
        options = "--data", data, "--epochs", epochs, "--dtype", dtype, *options
        status = status_of(main, "check", path, *options)
        return status, *capfd.readouterr()

    return check
