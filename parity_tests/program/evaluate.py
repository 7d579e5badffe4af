"""The command `evaluate`: the accuracy of saved weights."""

from pathlib import Path

from parity_tests.program import files
from parity_tests.program.frameworks import Framework, Twin
from parity_tests.program.options import Device, Dtype


def evaluate(
    framework: Framework,
    /,
    weights: Path,
    *,
    dtype: Dtype = "float32",
    data: Path = Path("data"),
    predictions: Path | None = None,
    device: Device = "cpu",
) -> None:
    """Print the accuracy of saved weights on the 10,000 test images, to four decimals.

    Args:
        framework: Which one computes.
        weights: Safetensors file that `train --save-weights` wrote, with either framework.
        dtype: Of the images and of the weights in the file.
        data: Folder that holds MNIST in MNIST/raw.
        predictions: Write the predicted labels to this text file, one a line.
        device: Where to compute.
    """
    twin = Twin(framework)
    files.check_outputs([predictions], [weights, *twin.mnist.paths(data)])
    files.check_input(weights, "a safetensors file, as `train --save-weights` writes it")
    files.check_data(data)
    twin.framework.use_device(device)
    model = twin.layers.mnist_model(dtype=dtype)
    twin.weights.load_weights(model, weights)
    _, (images, labels) = twin.mnist.load_mnist(data, dtype)
    print(f"accuracy: {twin.evaluation.evaluate(model, images, labels):.4f}")
    if predictions is not None:
        lines = "".join(f"{label}\n" for label in twin.evaluation.predict(model, images))
        files.write_whole(predictions, lines.encode())
