"""Keras files of the first example's model: right ones, small ones, and altered ones."""

import functools
import io
import zipfile
from pathlib import Path

import numpy as np

from parity_tests.model_files import save_model
from parity_tests.program.frameworks import Twin


@functools.cache
def keras_file(name: str) -> bytes:
    """Return the content of a Keras file of the first example's model."""
    save_model(Twin("tf").first_example.mnist_model(seed=0), Path(name))
    content = Path(name).read_bytes()
    Path(name).unlink()
    return content


def with_configuration(content: bytes, configuration: bytes) -> bytes:
    """Return a .keras file with another configuration."""
    written = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as old, zipfile.ZipFile(written, "w") as new:
        for member in old.namelist():
            kept = old.read(member) if member != "config.json" else configuration
            new.writestr(member, kept)
    return written.getvalue()


def small_h5() -> bytes:
    """Return an HDF5 file with the first example's first weights, but small ones."""
    import h5py

    written = io.BytesIO()
    with h5py.File(written, "w") as new:
        for layer, shape in (("dense", (3, 2)), ("dense_1", (2, 2))):
            new[f"layers/{layer}/vars/0"] = np.ones(shape, "float32")
            new[f"layers/{layer}/vars/1"] = np.ones(shape[1], "float32")
    return written.getvalue()


def small_zip() -> bytes:
    """Return a .keras file that is small, since its weights are."""
    written = io.BytesIO()
    with zipfile.ZipFile(written, "w") as new:
        new.writestr("metadata.json", "{}")
        new.writestr("config.json", "{}")
        new.writestr("model.weights.h5", small_h5())
    return written.getvalue()


def configuration() -> bytes:
    """Return the configuration of the first example's model, as a .keras file holds it."""
    with zipfile.ZipFile(io.BytesIO(keras_file("model.keras"))) as archive:
        return archive.read("config.json")
