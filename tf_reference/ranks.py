"""More than one process: the framework's own all-reduce, and who is lost when it fails.

The processes, called ranks, hold the same weights. Each takes its share of every batch, and
gradients and losses are averaged over all.
"""

import atexit
import json
import os
import re
import sys
import threading
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from .framework import ArgumentError, Tensor, shown, tf
from .optimizers import RMSprop

JOIN_TIMEOUT, TIMEOUT = 300, 30
"""Seconds to wait for the other ranks: at the start, and in a step."""

LOST = (
    tf.errors.AbortedError,
    tf.errors.CancelledError,
    tf.errors.DeadlineExceededError,
    tf.errors.UnavailableError,
)
"""What tf raises where a rank is lost."""


class RankError(OSError):
    """A rank has ended, hangs or cannot be reached."""


class Ranks:
    """The ranks that train together, and this one among them.

    Whatever needs the others raises a `RankError` if one does not take part.

    Args:
        rank: The number of this process, from 0.
        size: How many there are.
        all_reduce: The framework's own, which adds a tensor up over the ranks.
    """

    def __init__(self, rank: int, size: int, all_reduce: Callable) -> None:
        self.rank, self.size = rank, size
        self._all_reduce = all_reduce
        self._weight = tf.Variable(1.0, dtype="float64")  # a graph reads it anew in each step

    def take(self, share: float) -> None:
        """Weigh the averages that follow by the share of this rank in the batch, from 0 to 1."""
        self._weight.assign(share)

    def average(self, tensors: Sequence[Tensor]) -> list[Tensor]:
        """Return averages over the batch, given those over the share of this rank."""
        tensors = [tf.convert_to_tensor(tensor) for tensor in tensors]
        sizes = [tensor.shape.num_elements() for tensor in tensors]
        flat = tf.concat([tf.reshape(tensor, [-1]) for tensor in tensors], 0)
        parts = tf.split(self._added_up(flat * tf.cast(self._weight, flat.dtype)), sizes)
        return [tf.reshape(part, tensor.shape) for part, tensor in zip(parts, tensors, strict=True)]

    def average_gradients(self, optimizer: RMSprop) -> None:
        """Let an optimizer average the gradients over the ranks before each of its steps."""
        apply = optimizer.apply  # which the graph of `tf.keras.Model.train_on_batch` contains
        optimizer.apply = lambda gradients, weights=None: apply(self.average(gradients), weights)

    def total(self, array: np.ndarray) -> np.ndarray:
        """Return the sum over the ranks of an array of integers."""
        return self._added_up(tf.constant(array.reshape(-1))).numpy().reshape(array.shape)

    def run(self, step: Callable, *arguments: Any) -> Any:
        """Run a training step, which fails by a `RankError` if a rank is lost within."""
        try:
            return step(*arguments)  # whose graph may contain the all-reduce
        except LOST as error:
            raise self._lost(error) from error

    def _added_up(self, flat: Tensor) -> Tensor:
        return self.run(self._all_reduce, flat)

    def _lost(self, error: Exception) -> RankError:
        """Return an error that names, as far as this rank can find out, who does not answer."""
        # At its end the process would wait for what the lost rank was to send.
        atexit.register(os._exit, 2)
        return RankError(
            f"rank {self.rank} has lost {self._missing(error)}, which has ended, hangs for "
            f"{TIMEOUT} s or cannot be reached"
        )

    def _missing(self, error: Exception) -> str:
        if "CoordinationService/" in str(error):  # which runs in rank 0
            return "rank 0"
        # The first that is named as the other end of a connection, or as without a heartbeat.
        named = re.search(r"/task:([0-9]+)\b(?!/)", str(error))
        return f"rank {named[1]}" if named else "one of the others"


def join() -> Ranks | None:
    """Wait for the other ranks, if `TF_CONFIG` says that this process is one of several.

    Call it after `use_device` and before the first tensor is made.

    Returns:
        The ranks, or None for a process of its own.

    Raises:
        ArgumentError: If `TF_CONFIG` names no rank of a group.
    """
    if "TF_CONFIG" not in os.environ:
        return None
    try:
        config = json.loads(os.environ["TF_CONFIG"])
        workers, task = config["cluster"]["worker"], config["task"]
        rank = int(task["index"])
        fits = set(config["cluster"]) == {task["type"]} == {"worker"} and 0 <= rank < len(workers)
    except (KeyError, TypeError, ValueError):
        fits = False
    if not fits:
        raise ArgumentError(
            f"TF_CONFIG is {shown(os.environ['TF_CONFIG'])}: expected a JSON object such as "
            '{"cluster": {"worker": ["host:port", ...]}, "task": {"type": "worker", "index": 0}}'
        )
    if len(workers) == 1:
        return None

    def give_up() -> None:
        came = f"not all of {', '.join(workers)} have come within {JOIN_TIMEOUT} s"
        print(f"{__package__}: {came}", file=sys.stderr, flush=True)
        os._exit(2)  # what TensorFlow waits in can be ended by nothing else

    timer = threading.Timer(JOIN_TIMEOUT, give_up)
    timer.start()
    options = tf.distribute.experimental.CommunicationOptions(timeout_seconds=TIMEOUT)
    strategy = tf.distribute.MultiWorkerMirroredStrategy(communication_options=options)
    timer.cancel()

    def add_up(flat: Tensor) -> Tensor:
        return tf.distribute.get_replica_context().all_reduce("SUM", tf.identity(flat))

    all_reduce = tf.function(lambda flat: strategy.run(add_up, (flat,)), autograph=False)
    return Ranks(rank, len(workers), all_reduce)
