"""Rung 2: one seed, or one file, gives every implementation the same weights, bit for bit."""

import numpy as np
import pytest

import tf_reference
import torch_port
from parity_tests.ladder.adapters import Port, Reference
from parity_tests.ladder.compare import Divergence, Judge
from parity_tests.ladder.oracle import initial_weights


def compare(judge, port, reference):
    for name in reference:
        judge(
            "initial weights", "initial weights", name, port=port[name], reference=reference[name]
        )


def drawn(implementation, seed):
    """Return the weights of the package's own model of a seed."""
    implementation.model = implementation.layers.mnist_model(seed, implementation.dtype)
    return implementation.weights()


def test_one_seed_draws_the_same_weights_in_both_packages_and_in_numpy(judge, dtype):
    for seed in (0, 7):
        of_port, of_reference = (drawn(adapter(dtype=dtype), seed) for adapter in (Port, Reference))
        compare(judge, of_port, of_reference)
        compare(judge, initial_weights(seed, dtype=dtype), of_reference)


def test_weights_are_drawn_anew_without_a_seed(package):
    first, second = (package.weights_sha256(package.mnist_model()) for _ in range(2))
    assert first != second


def test_kernels_start_in_0_to_a_tenth_and_biases_at_0(port, reference):
    for implementation in (port, reference):
        for name, w in drawn(implementation, seed=None).items():
            assert w.any() == name.endswith("W")
            assert 0 <= w.min() <= w.max() <= np.float32(0.1)


@pytest.mark.parametrize(
    ("writer", "reader"), [(tf_reference, torch_port), (torch_port, tf_reference)]
)
def test_a_weights_file_of_either_package_is_read_by_the_other(writer, reader, dtype, tmp_path):
    path = tmp_path / "weights.safetensors"
    written, read = writer.mnist_model(seed=5, dtype=dtype), reader.mnist_model(dtype=dtype)
    writer.save_weights(written, path)
    reader.load_weights(read, path)
    assert reader.weights_sha256(read) == writer.weights_sha256(written)
    assert [entry.name for entry in tmp_path.iterdir()] == ["weights.safetensors"]


def test_two_exchanged_biases_are_seen():
    reference = initial_weights(0) | {"layers.1.b": np.arange(10, dtype="float32")}
    port = reference | {"layers.1.b": reference["layers.1.b"][[0, 2, 1, 3, 4, 5, 6, 7, 8, 9]]}
    with pytest.raises(Divergence, match=r"initial weights layers.1.b .*: 2 of 10 elements"):
        compare(Judge(), port, reference)


def test_a_transposed_square_kernel_is_seen():
    reference = initial_weights(0, sizes=(8, 8))
    port = reference | {"layers.0.W": reference["layers.0.W"].T}
    with pytest.raises(Divergence, match=r"initial weights layers.0.W .*: 56 of 64 elements"):
        compare(Judge(), port, reference)
