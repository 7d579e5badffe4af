"""Rung 1: both packages read the same pixels and labels of MNIST, bit for bit."""

import numpy as np
import pytest
import torch

import tf_reference
import torch_port
from parity_tests.ladder.compare import Divergence, Judge

NAMES = ("training images", "training labels", "test images", "test labels")


@pytest.fixture
def arrays(data, dtype):
    """The four arrays that each package reads, with those that NumPy reads."""
    raw = data / "MNIST" / "raw"

    def read(part):
        images = np.fromfile(raw / f"{part}-images-idx3-ubyte", np.uint8, offset=16)
        labels = np.fromfile(raw / f"{part}-labels-idx1-ubyte", np.uint8, offset=8)
        return images.reshape(-1, 784).astype(dtype) / 255, labels.astype(np.int64)

    packages = [
        [np.asarray(array) for split in package.load_mnist(data, dtype) for array in split]
        for package in (torch_port, tf_reference)
    ]
    return dict(zip(NAMES, zip(*packages, read("train") + read("t10k"), strict=True), strict=True))


def compare(judge, arrays):
    for name, (port, reference, oracle) in arrays.items():
        quantity = "pixels" if name.endswith("images") else "labels"
        judge("data", quantity, name, port=port, reference=reference)
        judge("data", quantity, f"{name} of the oracle", oracle=oracle, reference=reference)


def test_pixels_and_labels_are_equal(judge, arrays):
    compare(judge, arrays)
    assert [port.shape for port, *_ in arrays.values()] == [
        (60000, 784), (60000,), (10000, 784), (10000,),
    ]  # fmt: skip
    pixels = arrays["training images"][0]
    assert (pixels.min(), pixels.max()) == (0, 1)


@pytest.mark.parametrize("dtype", ["float32"], indirect=True)
def test_one_pixel_a_unit_in_the_last_place_off_is_seen(arrays):
    port, *_ = arrays["test images"]
    port[17, 300] = np.nextafter(port[17, 300], np.float32(2))
    with pytest.raises(Divergence, match=r"pixels test images .*: 1 of 7840000 elements"):
        compare(Judge(), arrays)


@pytest.mark.parametrize("dtype", ["float32"], indirect=True)
def test_two_exchanged_labels_are_seen(arrays):
    port, *_ = arrays["training labels"]
    port[[0, 1]] = port[[1, 0]]
    with pytest.raises(Divergence, match=r"labels training labels .*: 2 of 60000 elements"):
        compare(Judge(), arrays)


def test_the_port_reads_images_and_labels_onto_the_default_device(data):
    with torch.device("meta"):
        train, test = torch_port.load_mnist(data)
    assert [array.device.type for array in train + test] == ["meta"] * 4
