"""Files of the first example's model as the frameworks themselves write them."""

import io
import json
import tempfile
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from parity_tests.program.files import check_input, write_whole
from parity_tests.program.frameworks import Twin
from parity_tests.program.messages import UserError, shown

LARGEST_FILE, LARGEST_CONFIG, LARGEST_LAYER = 100_000_000, 100_000, 4096
"""What is read of a .keras file: its bytes, those of its config.json, and the numbers in this."""


def save_model(model: Any, path: Path) -> None:
    """Write a model to a file of its framework, which appears whole or not at all.

    Args:
        model: As `first_example.mnist_model` of either package makes it.
        path: For Keras a name in .keras (the whole model) or .weights.h5; for PyTorch one in
            .safetensors, which gets the state dict. An existing file is replaced.

    Raises:
        OSError: If the file cannot be written.
    """
    if path.name.endswith(".safetensors"):
        import safetensors.torch

        content = safetensors.torch.save(model.state_dict())
    else:
        with tempfile.TemporaryDirectory() as folder:
            temporary = Path(folder, path.name)
            save = model.save if path.name.endswith(".keras") else model.save_weights
            save(temporary)
            content = temporary.read_bytes()
    write_whole(path, content)


def load_model(path: Path) -> Any:
    """Read a model from a file of its framework, in the dtype that the file has.

    That becomes the default dtype, as `use_dtype` makes it, unless the file is refused.

    Args:
        path: As `save_model` writes it, or the framework's own functions.

    Raises:
        FileNotFoundError: If there is no such file.
        UserError: If it is no such file, or one of another model.
    """
    check_input(path, "the file of a trained model")
    return _load_state_dict(path) if path.name.endswith(".safetensors") else _load_keras(path)


@contextmanager
def _refused(path: Path, twin: Twin, dtype: str) -> Iterator[None]:
    """Turn whatever a reader says of a file into a sentence, and put the default dtype back."""
    try:
        yield
    except Exception as error:
        twin.framework.use_dtype(dtype)
        reason = shown((str(error) or type(error).__name__).split("\n")[0], 400)
        what = f"{path} is not a file of the first example's model"
        raise UserError(f"{what}: {reason}") from error


def _load_state_dict(path: Path) -> Any:
    twin = Twin("torch")
    import torch

    with _refused(path, twin, str(torch.get_default_dtype()).removeprefix("torch.")):
        held = twin.weights.described(path)
        if "layers.0.W" in held:
            raise UserError(
                "it was written by `train --save-weights`, and load_weights or --initial-weights "
                "reads it; expected a state dict of PyTorch"
            )
        double = any(text.startswith("float64") for text in held.values())
        twin.framework.use_dtype("float64" if double else "float32")
        model = twin.first_example.mnist_model()
        model.load_state_dict(twin.weights.read_tensors(path, model.state_dict()))
    return model


def _load_keras(path: Path) -> Any:
    twin = Twin("tf")
    import h5py
    import tensorflow as tf

    with _refused(path, twin, tf.keras.config.floatx()):
        _check_keras_file(path)
        if path.name.endswith(".keras"):
            model = tf.keras.models.load_model(path, compile=False)
            twin.framework.use_dtype(model.dtype)
        else:
            with h5py.File(path) as file:
                twin.framework.use_dtype(file["layers/dense/vars/0"].dtype.name)
            model = twin.first_example.mnist_model()
            model.load_weights(path)
    return model


def _check_keras_file(path: Path) -> None:
    """Refuse a file that would take Keras's own reader far more memory than the model has."""
    import h5py

    file: Any = path
    if path.name.endswith(".keras"):
        if not zipfile.is_zipfile(path):
            raise UserError("it is no whole zip file")
        with zipfile.ZipFile(path) as archive:
            members = {member.filename: member.file_size for member in archive.infolist()}
            if set(members) != {"metadata.json", "config.json", "model.weights.h5"}:
                raise UserError(f"it holds {', '.join(members)}")
            if sum(members.values()) > LARGEST_FILE or members["config.json"] > LARGEST_CONFIG:
                raise UserError(f"it grows to {sum(members.values()):,} bytes")
            config = json.loads(archive.read("config.json"))
            if not all(number <= LARGEST_LAYER for number in _numbers(config)):
                raise UserError(f"its config.json asks for more than {LARGEST_LAYER} of something")
            file = io.BytesIO(archive.read("model.weights.h5"))
    total = 0

    def add(name: str, item: Any) -> None:
        nonlocal total
        total += item.size * item.dtype.itemsize if isinstance(item, h5py.Dataset) else 0

    with h5py.File(file) as weights:
        weights.visititems(add)
    if total > LARGEST_FILE:
        raise UserError(f"its weights have {total:,} bytes")


def _numbers(item: Any) -> Iterator[float]:
    """Yield the numbers in a JSON document, but for those that only name an object."""
    if isinstance(item, dict):
        item = [value for name, value in item.items() if name != "shared_object_id"]
    if isinstance(item, list):
        for part in item:
            yield from _numbers(part)
    elif isinstance(item, int | float):
        yield item
