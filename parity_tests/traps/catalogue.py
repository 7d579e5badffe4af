"""The catalogue: every trap, in the order of the rungs on which they must show."""

from parity_tests.traps import (
    data,
    first_example,
    gradients,
    initial_weights,
    layer_outputs,
    loss,
    one_update,
    trajectory,
)
from parity_tests.traps.trap import Trap

CATALOGUE: tuple[Trap, ...] = (
    *data.TRAPS,
    *initial_weights.TRAPS,
    *layer_outputs.TRAPS,
    *loss.TRAPS,
    *gradients.TRAPS,
    *one_update.TRAPS,
    *trajectory.TRAPS,
    *first_example.TRAPS,
)
