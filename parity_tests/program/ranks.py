"""More than one process: each takes its share of every batch, and all make the same step.

The all-reduce is the framework's, in the packages' own `ranks`. Without other ranks, each function
here is given None in their place, and does nothing.
"""

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import Any

import numpy as np

from parity_tests.program.frameworks import Twin
from parity_tests.program.messages import UserError, shown


def shared(step: Callable, ranks: Any) -> Callable:
    """Return a training step in which this rank takes its share of the batch.

    What it returns are averages over the whole batch. A rank for which nothing is left takes one
    sample, of weight 0, since an average needs one.

    """
    if ranks is None:
        return step

    def shared_step(model: Any, images_batch: Any, labels_batch: Any, rule: Any) -> Any:
        samples = len(labels_batch)
        begin, end = (samples * rank // ranks.size for rank in (ranks.rank, ranks.rank + 1))
        ranks.take((end - begin) / samples)
        part = slice(begin, end) if begin < end else slice(0, 1)
        found = ranks.run(step, model, images_batch[part], labels_batch[part], rule)
        several = isinstance(found, list | tuple)
        averages = ranks.average(found if several else [found])
        return averages if several else averages[0]

    return shared_step


def averaged(update_weights: Callable, ranks: Any) -> Callable:
    """Return an update rule that first averages the gradients over the ranks."""
    if ranks is None:
        return update_weights
    return lambda gradients, weights: update_weights(ranks.average(gradients), weights)


def taken_over(twin: Twin, ranks: Any, tensors: Mapping[str, Any], progress: Any) -> Any:
    """Take over the tensors of rank 0, and return how far it has come."""
    if ranks is None:
        return progress
    ranks.take(float(ranks.rank == 0))  # added to nothing, so that no number is rounded
    found = ranks.average(list(tensors.values()))
    if ranks.rank > 0:
        twin.weights.assign(tensors, dict(zip(tensors, found, strict=True)))
    return type(progress)(**json.loads(gathered(ranks, json.dumps(asdict(progress)))[0]))


def gathered(ranks: Any, text: str) -> list[str]:
    """Return the text of each rank, in their order."""
    content = np.frombuffer(text.encode(), "uint8")
    lengths = np.zeros(ranks.size, "int64")
    lengths[ranks.rank] = len(content)
    lengths = ranks.total(lengths)
    table = np.zeros((ranks.size, lengths.max()), "int64")
    table[ranks.rank, : len(content)] = content
    rows = zip(ranks.total(table).astype("uint8"), lengths, strict=True)
    return [row[:length].tobytes().decode() for row, length in rows]


def check_same(ranks: Any, facts: Mapping[str, Any], *arrays: Any) -> None:
    """Refuse ranks that would not train the same model on the same data."""
    if ranks is None:
        return
    sha256 = hashlib.sha256()
    for array in arrays:
        sha256.update(np.asarray(array.cpu() if hasattr(array, "cpu") else array).tobytes())
    facts = {**facts, "data": sha256.hexdigest()}
    found = [json.loads(text) for text in gathered(ranks, json.dumps(facts))]
    for rank, of_rank in enumerate(found):
        for name, wanted in found[0].items():
            if of_rank.get(name) != wanted:
                raise UserError(
                    f"the {name} of rank {rank}: {shown(of_rank.get(name))}, but rank 0 has "
                    f"{shown(wanted)}: start all ranks with the same options, data and versions"
                )
