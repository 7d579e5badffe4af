"""More than one process: each takes its share of every batch, and all make the same step.

The processes, called ranks, hold the same weights. The framework's own all-reduce averages
gradients and losses over them.
"""

import atexit
import hashlib
import json
import os
import threading
import time
import traceback
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import torch.distributed
from torch import Tensor

from .arguments import shown
from .optimizers import RMSprop, UpdateRule
from .weights import assign

if TYPE_CHECKING:
    from .training import Progress  # which takes its share from here

JOIN_TIMEOUT, TIMEOUT = 300, 30
"""Seconds to wait for the other ranks: at the start, and in a step."""

LOST = (RuntimeError,)
"""What torch raises where a rank is lost."""


class RankError(OSError):
    """A rank has ended, hangs or cannot be reached."""


@dataclass
class Group:
    """The ranks that train together, and this one among them.

    Attributes:
        rank: The number of this process, from 0; rank 0 alone prints and writes.
        size: How many there are.
        weight: The share of this rank in the batch at hand, from 0 to 1.
        all_reduce: The framework's own, which adds a tensor up over the ranks.
    """

    rank: int = 0
    size: int = 1
    weight: Any = 1.0
    all_reduce: Any = None


group = Group()
"""One process, until `join` has found others."""


def join() -> None:
    """Wait for the other ranks, if this process was started as one of several.

    Call it after `use_device` and before the first tensor is made. Several are those that
    `torchrun` starts, or `TF_CONFIG` names.

    Raises:
        ValueError: If the environment names no rank of a group.
        RankError: If the others do not come.
    """
    if os.environ.get("WORLD_SIZE", "1") == "1":  # which torch.distributed reads
        return
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
    group.rank, group.size = torch.distributed.get_rank(), torch.distributed.get_world_size()
    group.all_reduce = partial(torch.distributed.all_reduce, group=engine)


def share(images_batch: Any, labels_batch: Any) -> tuple[Any, Any]:
    """Return the part of a batch that this rank takes, and remember how large a part it is.

    A rank for which nothing is left takes one sample, of weight 0, since an average needs one.

    Args:
        images_batch: Shape (batch, pixels).
        labels_batch: Shape (batch,).
    """
    if group.size == 1:
        return images_batch, labels_batch
    samples = len(labels_batch)
    begin, end = (samples * rank // group.size for rank in (group.rank, group.rank + 1))
    group.weight = (end - begin) / samples
    part = slice(begin, end) if begin < end else slice(0, 1)
    return images_batch[part], labels_batch[part]


def averaged(update_weights: UpdateRule) -> UpdateRule:
    """Return an update rule that first averages the gradients over the ranks."""
    if group.size == 1:
        return update_weights
    return lambda gradients, weights: update_weights(average(gradients), weights)


def average_gradients(optimizer: RMSprop) -> None:
    """Let an optimizer average the gradients over the ranks before each of its steps."""
    if group.size == 1:
        return

    def hook(optimizer: torch.optim.Optimizer, *arguments: Any) -> None:
        weights = [w for of_group in optimizer.param_groups for w in of_group["params"]]
        for w, g in zip(weights, average([w.grad for w in weights]), strict=True):
            w.grad = g

    optimizer.register_step_pre_hook(hook)


def average(tensors: Sequence[Tensor]) -> list[Tensor]:
    """Return the averages over the ranks, each weighted by its share of the batch at hand.

    What is an average over a share becomes the average over the batch.

    Args:
        tensors: As many, and of the same shapes and dtype, on each rank.

    Raises:
        RankError: If a rank does not take part.
    """
    if group.size == 1:
        return list(tensors)
    sizes = [tensor.numel() for tensor in tensors]
    total = _total(torch.cat([tensor.reshape(-1) for tensor in tensors]) * group.weight)
    parts = total.split(sizes)
    return [part.reshape(tensor.shape) for part, tensor in zip(parts, tensors, strict=True)]


def take_over(tensors: Mapping[str, Tensor], progress: "Progress") -> None:
    """Begin where rank 0 does: with its weights, and as far as it has come.

    Args:
        tensors: The weights and the state of the optimizer, which are replaced.
        progress: Of the training, which is replaced.

    Raises:
        RankError: If a rank does not take part.
    """
    if group.size == 1:
        return
    # Added to nothing, so that no number is rounded.
    group.weight = float(group.rank == 0)
    found = average([tensor.detach() for tensor in tensors.values()])
    if group.rank:
        assign(tensors, dict(zip(tensors, found, strict=True)))
    progress.__dict__.update(json.loads(gather(json.dumps(progress.__dict__))[0]))


def gather(text: str) -> list[str]:
    """Return the text of each rank, in their order.

    Raises:
        RankError: If a rank does not take part.
    """
    if group.size == 1:
        return [text]
    content = np.frombuffer(text.encode(), "uint8")
    lengths = np.zeros(group.size, "int64")
    lengths[group.rank] = len(content)
    lengths = _total(torch.as_tensor(lengths)).cpu().numpy()
    table = np.zeros((group.size, lengths.max()), "int64")
    table[group.rank, : len(content)] = content
    table = _total(torch.as_tensor(table).reshape(-1)).cpu().numpy().reshape(table.shape)
    rows = zip(table.astype("uint8"), lengths, strict=True)
    return [row[:length].tobytes().decode() for row, length in rows]


def check_same(facts: Mapping[str, Any], *arrays: Tensor) -> None:
    """Refuse ranks that would not train the same model on the same data.

    Args:
        facts: The options and the versions, by name.
        arrays: The data.

    Raises:
        ValueError: If a rank has others than rank 0.
        RankError: If a rank does not take part.
    """
    if group.size == 1:
        return
    sha256 = hashlib.sha256()
    for array in arrays:
        sha256.update(array.cpu().numpy().data)
    found = [json.loads(text) for text in gather(json.dumps({**facts, "data": sha256.hexdigest()}))]
    for rank, of_rank in enumerate(found):
        for name, wanted in found[0].items():
            if of_rank.get(name) != wanted:
                raise ValueError(
                    f"the {name} of rank {rank}: {shown(of_rank.get(name))}, but rank 0 has "
                    f"{shown(wanted)}: start all ranks with the same options, data and versions"
                )


def _total(flat: Tensor) -> Tensor:
    """Return the sum over the ranks of a tensor of one axis."""
    with failures_named():
        group.all_reduce(flat)  # in place, in torch.distributed
    return flat


@contextmanager
def failures_named() -> Iterator[None]:
    """Turn what the framework says of a rank that is lost into a sentence that names it.

    Raises:
        RankError: In place of the framework's own error.
    """
    try:
        yield
    except LOST as error:
        # At its end the process would wait for what the lost rank was to send.
        atexit.register(os._exit, 2)
        raise RankError(
            f"rank {group.rank} has lost {_missing(error)}, which has ended, hangs for {TIMEOUT} s "
            "or cannot be reached"
        ) from error


def _missing(error: Exception) -> str:
    """Return in words who does not answer any more, as far as this rank can find out."""
    # A rank may wait for this one, not for the lost one, until this one closes its connections.
    group.all_reduce = None
    traceback.clear_frames(error.__traceback__)
    threading.Thread(target=torch.distributed.destroy_process_group, daemon=True).start()
    # torch names an address at best. The ranks that have given up meet at the store of torchrun.
    host, port = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
    names = [f"gave up/{rank}" for rank in range(group.size)]
    timeout = timedelta(seconds=5)
    end = time.monotonic() + timeout.seconds
    try:
        store = torch.distributed.TCPStore(  # type: ignore[attr-defined]
            host, port, timeout=timeout, wait_for_workers=False
        )
        store.set(names[group.rank], "")
        missing = list(range(group.size))
        while len(missing) > 1 and time.monotonic() < end:
            missing = [rank for rank, name in enumerate(names) if not store.check([name])]
    except RuntimeError:
        return f"the machine of rank 0, {host}"
    return " and ".join(f"rank {rank}" for rank in missing) or "a message"
