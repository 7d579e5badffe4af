"""Live curves: the numbers of a run in TensorBoard's format."""

import sys
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from types import ModuleType

from parity_tests.program.messages import UserError


@contextmanager
def scalar_writer(folder: Path | None, name: str) -> Iterator[Callable[[str, float, int], None]]:
    """Open a writer of scalars, which takes a tag, a value and a step.

    Args:
        folder: None writes nothing.
        name: Of a folder in it, so that the runs of both packages lie in one chart.
    """
    if folder is None:
        yield lambda tag, value, step: None
        return
    (folder / name).mkdir(parents=True, exist_ok=True)
    if "tensorflow" not in sys.modules:
        # TensorBoard writes files through TensorFlow where that is installed, but for this.
        sys.modules["tensorboard.compat.notf"] = ModuleType("notf")
    try:
        from tensorboard.summary import Writer
    except ImportError as error:
        raise UserError(f"{error}: run `pip install '.[tensorboard]'` for --tensorboard") from error
    with closing(Writer(str(folder / name))) as writer:
        yield writer.add_scalar
