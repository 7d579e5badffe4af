"""What each process of `test_ranks.py` does: train on a few images, and lose another rank."""

import importlib
import json
import os
import signal
import sys
import time
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from safetensors.numpy import save_file

SAMPLES, BATCH_SIZE = 301, 150
"""The last batch of an epoch is of one sample: there is nothing for another rank."""


def trained(package: ModuleType, dtype: str) -> dict[str, np.ndarray]:
    """Return the losses, the gradients and the weights of two short trainings, by name."""
    package.use_dtype(dtype)
    rng = np.random.default_rng(0)
    images = rng.uniform(0, 1, (SAMPLES, 784)) * (rng.random((SAMPLES, 784)) < 0.2)
    samples = images.astype(dtype), rng.integers(0, 10, SAMPLES)
    ranks = importlib.import_module(f"{package.__name__}.ranks")
    weights = importlib.import_module(f"{package.__name__}.weights")
    found = {}
    seed = ranks.group.rank  # the weights of rank 0 count
    models = {
        "scratch": package.mnist_model(seed, dtype),
        "first": package.first_example.mnist_model(seed),
    }
    for name, model in models.items():
        ranks.take_over(weights.named_weights(model), package.Progress())
        losses: list[float] = []
        gradients: list[list[np.ndarray]] = []

        def update(g: Any, w: Any, gradients: list = gradients) -> None:
            gradients.append([np.array(of_weight) for of_weight in g])
            package.update_weights(g, w)

        module = package if name == "scratch" else package.first_example
        rule: dict[str, Any] = {"update_weights": update} if name == "scratch" else {}
        module.fit(
            model,
            *samples,
            epochs=2,
            batch_size=BATCH_SIZE,
            shuffle_seed=0,
            on_step=lambda epoch, batch, loss, losses=losses: losses.append(loss),
            **rule,
        )
        found[f"{name} loss"] = np.array(losses, dtype)
        for weight, of_weight in enumerate(zip(*gradients, strict=True)):
            found[f"{name} gradient {weight}"] = np.stack(of_weight)
        for weight, tensor in weights.named_weights(model).items():
            found[f"{name} weights {weight}"] = np.array(getattr(tensor, "data", tensor), order="C")
    return found


def main() -> None:
    """Train in both dtypes, refuse other options, and lose the last rank; write what was found."""
    name, folder = sys.argv[1], Path(sys.argv[2])
    package, ranks = importlib.import_module(name), importlib.import_module(f"{name}.ranks")
    package.use_device("cpu")
    ranks.join()
    rank, size = ranks.group.rank, ranks.group.size
    for dtype in ("float32", "float64"):
        save_file(trained(package, dtype), folder / f"{dtype}-{rank}.safetensors")
    said = []
    array = np.array([rank])
    others = sys.modules["torch"].as_tensor(array) if name == "torch_port" else array
    for facts, arrays in (({"seed": rank}, ()), ({}, (others,))):
        try:
            ranks.check_same(facts, *arrays)
        except ValueError as error:
            said.append(str(error))
    weights = importlib.import_module(f"{name}.weights").named_weights(package.mnist_model(0))
    begin = time.monotonic()
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # of torchrun, which may come before the loss
    if rank == size - 1:
        os.kill(os.getpid(), signal.SIGKILL)
    try:
        ranks.take_over(weights, package.Progress())
    except ranks.RankError as error:
        said.append(str(error))
    seconds = time.monotonic() - begin
    (folder / f"said-{rank}.json").write_text(json.dumps({"said": said, "seconds": seconds}))


if __name__ == "__main__":
    main()
