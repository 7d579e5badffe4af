"""The same options give the same bits: in one process, and in another.

Neither framework promises so much of another number of threads. The pages of the packages say
what was measured: with the kernels of oneDNN, which `torch_port` takes, it holds.
"""

import hashlib
import os
import subprocess
import sys

import pytest

from parity_tests.program.frameworks import FRAMEWORKS


@pytest.mark.parametrize("shuffle_seed", [None, 3])
def test_one_process_repeats_a_training_to_the_bit(package, mnist, dtype, shuffle_seed):
    package.use_dtype(dtype)
    images, labels = (array[:500] for array in mnist(dtype)[:2])
    found = []
    for _ in range(2):
        scratch = package.mnist_model(0, dtype)
        package.fit(scratch, images, labels, 2, shuffle_seed=shuffle_seed)
        first = package.first_example.mnist_model(0)
        package.first_example.fit(first, images, labels, 2, shuffle_seed=shuffle_seed)
        found.append([package.weights_sha256(model) for model in (scratch, first)])
    assert found[0] == found[1]


def trained(package, data, folder, threads, *options):
    """Return the hash of the weights that a process trains with so many threads."""
    path = folder / "w.safetensors"
    command = [sys.executable, "-m", "parity_tests", "train", FRAMEWORKS[package], *options]
    names = "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "TF_NUM_INTRAOP_THREADS"
    subprocess.run(
        [*command, "--epochs", "1", "--save-weights", path, "--data", data],
        env=os.environ | dict.fromkeys(names, str(threads)),
        check=True,
        capture_output=True,
    )
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.mark.soak
@pytest.mark.parametrize("example", ["scratch", "first"])
@pytest.mark.parametrize("package", ["tf_reference", "torch_port"])
def test_one_process_repeats_another_to_the_bit(package, data, tmp_path, dtype, example):
    options = ["--dtype", dtype, "--example", example]
    counts = [1, 1, 2] if package == "torch_port" else [1, 1]
    found = {trained(package, data, tmp_path, count, *options) for count in counts}
    assert len(found) == 1


def test_another_seed_gives_other_bits(package, mnist):
    images, labels = (array[:200] for array in mnist("float32")[:2])
    found = set()
    for seed in (0, 1):
        model = package.mnist_model(0)
        package.fit(model, images, labels, 1, shuffle_seed=seed)
        found.add(package.weights_sha256(model))
    assert len(found) == 2
