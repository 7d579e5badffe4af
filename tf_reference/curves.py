"""Live curves: the numbers of a run in TensorBoard's format, by the framework's own writer."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from .files import check_folder
from .framework import tf


@contextmanager
def scalar_writer(folder: Path | None) -> Iterator[Callable[[str, float, int], None]]:
    """Open a writer of scalars; it takes a tag, a value and a step.

    Args:
        folder: Gets a folder named after this package, so that runs of both lie in one chart.
            None writes nothing.

    Raises:
        ImportError: If TensorBoard is not installed.
        OSError: If the folder cannot be made.
    """
    if folder is None:
        yield lambda tag, value, step: None
        return
    folder = check_folder(folder, "a folder for TensorBoard") / (__package__ or "")
    folder.mkdir(parents=True, exist_ok=True)
    import tensorboard  # noqa: F401 (tf.summary asks for it only at the first step)

    with tf.summary.create_file_writer(str(folder)).as_default():
        yield tf.summary.scalar
