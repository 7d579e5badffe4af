"""More than one process: the framework's own all-reduce, and who is lost when it fails.

The processes, called ranks, hold the same weights. Each takes its share of every batch, and
gradients and losses are averaged over all.
"""

import atexit
import os
import threading
import time
import traceback
from collections.abc import Callable, Sequence
from datetime import timedelta
from functools import partial
from typing import Any

import numpy as np
import torch
import torch.distributed
from torch import Tensor

from .optimizers import RMSprop

JOIN_TIMEOUT, TIMEOUT = 300, 30
"""Seconds to wait for the other ranks: at the start, and in a step."""


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
        self._all_reduce: Callable | None = all_reduce
        self._weight = 1.0

    def take(self, share: float) -> None:
        """Weigh the averages that follow by the share of this rank in the batch, from 0 to 1."""
        self._weight = share

    def average(self, tensors: Sequence[Tensor]) -> list[Tensor]:
        """Return averages over the batch, given those over the share of this rank."""
        sizes = [tensor.numel() for tensor in tensors]
        flat = torch.cat([tensor.detach().reshape(-1) for tensor in tensors])
        parts = self._added_up(flat * self._weight).split(sizes)
        return [part.reshape(tensor.shape) for part, tensor in zip(parts, tensors, strict=True)]

    def average_gradients(self, optimizer: RMSprop) -> None:
        """Let an optimizer average the gradients over the ranks before each of its steps."""

        def hook(optimizer: torch.optim.Optimizer, *arguments: Any) -> None:
            weights = [w for group in optimizer.param_groups for w in group["params"]]
            for w, g in zip(weights, self.average([w.grad for w in weights]), strict=True):
                w.grad = g

        optimizer.register_step_pre_hook(hook)

    def total(self, array: np.ndarray) -> np.ndarray:
        """Return the sum over the ranks of an array of integers."""
        flat = torch.as_tensor(array).reshape(-1)
        return self._added_up(flat).cpu().numpy().reshape(array.shape)

    def run(self, step: Callable, *arguments: Any) -> Any:
        """Run a training step, which fails by a `RankError` if a rank is lost within."""
        return step(*arguments)

    def _added_up(self, flat: Tensor) -> Tensor:
        try:
            assert self._all_reduce is not None  # noqa: S101 (unless a rank is lost)
            self._all_reduce(flat)  # in place, in torch.distributed
        except RuntimeError as error:
            raise self._lost(error) from error
        return flat

    def _lost(self, error: RuntimeError) -> RankError:
        """Return an error that names, as far as this rank can find out, who does not answer."""
        # At its end the process would wait for what the lost rank was to send.
        atexit.register(os._exit, 2)
        # A rank may wait for this one, not for the lost one, until this one closes its connections.
        self._all_reduce = None
        traceback.clear_frames(error.__traceback__)
        threading.Thread(target=torch.distributed.destroy_process_group, daemon=True).start()
        return RankError(
            f"rank {self.rank} has lost {self._missing()}, which has ended, hangs for {TIMEOUT} s "
            "or cannot be reached"
        )

    def _missing(self) -> str:
        # torch names an address at best. Ranks that have given up meet at the store of torchrun.
        host, port = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
        names = [f"gave up/{rank}" for rank in range(self.size)]
        timeout = timedelta(seconds=5)
        end = time.monotonic() + timeout.seconds
        try:
            store = torch.distributed.TCPStore(  # type: ignore[attr-defined]
                host, port, timeout=timeout, wait_for_workers=False
            )
            store.set(names[self.rank], "")
            missing = list(range(self.size))
            while len(missing) > 1 and time.monotonic() < end:
                missing = [rank for rank, name in enumerate(names) if not store.check([name])]
        except RuntimeError:
            return f"the machine of rank 0, {host}"
        return " and ".join(f"rank {rank}" for rank in missing) or "a message"


def join() -> Ranks | None:
    """Wait for the other ranks, if this process was started as one of several by torchrun.

    Call it after `use_device` and before the first tensor is made.

    Returns:
        The ranks, or None for a process of its own.

    Raises:
        RankError: If the others do not come.
    """
    if os.environ.get("WORLD_SIZE", "1") == "1":  # which torch.distributed reads
        return None
    device = torch.get_default_device().type
    backend = "nccl" if device == "cuda" else "gloo"
    if device == "cuda":
        torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")))
    try:
        torch.distributed.init_process_group(backend, timeout=timedelta(seconds=JOIN_TIMEOUT))
        engine = torch.distributed.new_group(timeout=timedelta(seconds=TIMEOUT))
    except RuntimeError as error:
        raise RankError(f"the ranks have not found each other: {error}") from error
    atexit.register(torch.distributed.destroy_process_group)  # or its threads may abort the end
    rank, size = torch.distributed.get_rank(), torch.distributed.get_world_size()
    return Ranks(rank, size, partial(torch.distributed.all_reduce, group=engine))
