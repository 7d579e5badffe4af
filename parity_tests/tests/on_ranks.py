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

from parity_tests.program.frameworks import FRAMEWORKS, Twin
from parity_tests.program.ranks import averaged, check_same, shared, taken_over
from parity_tests.program.train import Course

SAMPLES, BATCH_SIZE = 301, 150
"""The last batch of an epoch is of one sample: there is nothing for another rank."""


def optimizer_of(module: Any, model: Any, ranks: Any) -> Any:
    """Return the optimizer of the first example, which averages the gradients over the ranks."""
    optimizer = module.rmsprop(model)
    if ranks:
        ranks.average_gradients(optimizer)
    return optimizer


def trained(package: ModuleType, dtype: str, ranks: Any = None) -> dict[str, np.ndarray]:
    """Return the losses, the gradients and the weights of two short trainings, by name."""
    package.use_dtype(dtype)
    rng = np.random.default_rng(0)
    images = rng.uniform(0, 1, (SAMPLES, 784)) * (rng.random((SAMPLES, 784)) < 0.2)
    samples = images.astype(dtype), rng.integers(0, 10, SAMPLES)
    twin = Twin(FRAMEWORKS[package.__name__])
    named_weights = twin.weights.named_weights
    found = {}
    seed = ranks.rank if ranks else 0  # the weights of rank 0 count
    makers = {"scratch": package.mnist_model, "first": package.first_example.mnist_model}
    for name, make_model in makers.items():
        model = make_model(seed, dtype) if name == "scratch" else make_model(seed)
        taken_over(twin, ranks, named_weights(model), Course())
        losses: list[float] = []
        gradients: list[list[np.ndarray]] = []

        def update(g: Any, w: Any, gradients: list = gradients) -> None:
            gradients.append([np.array(of_weight) for of_weight in g])
            package.update_weights(g, w)

        module = package if name == "scratch" else package.first_example
        rule: dict[str, Any] = {"update_weights": averaged(update, ranks)}
        if name == "first":
            rule = {"optimizer": optimizer_of(module, model, ranks)}
        module.fit(
            model,
            *samples,
            2,
            BATCH_SIZE,
            shuffle_seed=0,
            step=shared(module.one_training_step, ranks),
            on_step=lambda epoch, batch, loss, losses=losses: losses.append(loss),
            **rule,
        )
        found[f"{name} loss"] = np.array(losses, dtype)
        for weight, of_weight in enumerate(zip(*gradients, strict=True)):
            found[f"{name} gradient {weight}"] = np.stack(of_weight)
        for weight, tensor in named_weights(model).items():
            found[f"{name} weights {weight}"] = np.array(getattr(tensor, "data", tensor), order="C")
    return found


def main() -> None:
    """Train in both dtypes, refuse other options, and lose the last rank; write what was found."""
    name, folder = sys.argv[1], Path(sys.argv[2])
    package, module = importlib.import_module(name), importlib.import_module(f"{name}.ranks")
    package.use_device("cpu")
    ranks = module.join()
    rank, size = (ranks.rank, ranks.size) if ranks else (0, 1)
    for dtype in ("float32", "float64"):
        save_file(trained(package, dtype, ranks), folder / f"{dtype}-{rank}.safetensors")
    said = []
    array = np.array([rank])
    others = sys.modules["torch"].as_tensor(array) if name == "torch_port" else array
    for facts, arrays in (({"seed": rank}, ()), ({}, (others,))):
        try:
            check_same(ranks, facts, *arrays)
        except ValueError as error:
            said.append(str(error))
    weights = importlib.import_module(f"{name}.weights").named_weights(package.mnist_model(0))
    begin = time.monotonic()
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # of torchrun, which may come before the loss
    if rank == size - 1:
        os.kill(os.getpid(), signal.SIGKILL)
    try:
        taken_over(Twin(FRAMEWORKS[name]), ranks, weights, Course())
    except module.RankError as error:
        said.append(str(error))
    seconds = time.monotonic() - begin
    (folder / f"said-{rank}.json").write_text(json.dumps({"said": said, "seconds": seconds}))


if __name__ == "__main__":
    main()
