"""Live curves: the numbers of a run in TensorBoard's format, by the framework's own writer."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType

from .files import check_folder


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
    if "tensorflow" not in sys.modules:
        # TensorBoard writes files through TensorFlow where that is installed, but for this.
        sys.modules["tensorboard.compat.notf"] = ModuleType("notf")
    from torch.utils.tensorboard import SummaryWriter

    with SummaryWriter(folder) as writer:
        yield writer.add_scalar
