"""The first example's model from a Keras file to a PyTorch state dict, and back."""

from pathlib import Path
from typing import Any

import numpy as np

from parity_tests.ladder.adapters import PackageAdapter, Port, Reference
from parity_tests.ladder.compare import Judge, judge_tensors
from parity_tests.ladder.oracle import Oracle, softmax
from parity_tests.ladder.training import clear_labels
from parity_tests.model_files import load_model, save_model
from parity_tests.program import files
from parity_tests.program.frameworks import installed
from parity_tests.program.messages import UserError

RUNG = "first example"
SUFFIXES = {".keras": Reference, ".weights.h5": Reference, ".safetensors": Port}
SHAPES = [[(784, 512), (512,)], [(512, 10), (10,)]]
"""Of kernel and bias of each layer, as Keras stores them."""


def convert(source: Path, target: Path, /, *, data: Path = Path("data")) -> None:
    """Turn the first example's Keras file into a PyTorch state dict, or back.

    Nothing is written unless both models give the 10,000 test images the same labels, and the
    same probabilities on the terms of the tolerance table. In float32 the labels of an image may
    differ whose two most probable classes are as good as equal, since rounding decides on it.

    Args:
        source: A Keras model (.keras), its weights (.weights.h5), or a PyTorch state dict
            (.safetensors).
        target: The file to write, of the other framework.
        data: Folder that holds MNIST in MNIST/raw.
    """
    given, made = framework_of(source), framework_of(target)
    if given.package_name == made.package_name:
        raise UserError(f"{source} and {target} are of one framework: nothing to convert")
    files.check_outputs([target], [source, *installed().mnist.paths(data)])

    given.model = load_model(source)
    shapes = [[tuple(w.shape) for w in layer.weights] for layer in given.model.layers]
    if shapes != SHAPES:
        raise UserError(f"{source} has layers with weights of {shapes}: expected {SHAPES}")
    weights = given.weights()
    dtype = weights["layers.0.W"].dtype.name
    if dtype not in ("float32", "float64"):
        raise UserError(f"{source} holds weights in {dtype}: expected float32 or float64")
    made.package.use_dtype(dtype)
    made.model = made.package.first_example.mnist_model()
    made.load_weights(weights)

    _, (images, _) = given.package.load_mnist(data, dtype)
    ties = verify(given, made, np.asarray(images))
    save_model(made.model, target)
    print(f"{target}: the same labels and probabilities for {len(images):,} test images")
    if ties:
        print(f"but for {ties} labels: their two most probable classes are as good as equal")


def framework_of(path: Path) -> PackageAdapter:
    """Return an implementation of the framework whose files have such a name."""
    for suffix, adapter in SUFFIXES.items():
        if path.name.endswith(suffix):
            return adapter()
    raise UserError(f"{path}: expected a name in .keras, .weights.h5 or .safetensors")


def verify(given: PackageAdapter, made: PackageAdapter, images: np.ndarray) -> int:
    """Judge the labels and the probabilities that two models of the first example predict.

    Returns:
        How many labels differ because rounding decides on them, which is in float32 only.

    Raises:
        Divergence: If they differ by more than the tolerance table allows.
    """
    judge = Judge()
    oracle = Oracle()
    oracle.load_weights(given.weights())
    outputs = {
        one.package_name: one.to_numpy(one.model(one.to_tensor(images))) for one in (given, made)
    }
    found = [
        softmax(outputs["torch_port"]),  # of logits, which it ends with
        outputs["tf_reference"],
        oracle.layer_output(1, oracle.layer_output(0, images)),
    ]
    labels: dict[str, Any] = {one.package_name: one.predict(images) for one in (given, made)}
    ties = labels["torch_port"] != labels["tf_reference"]
    if given.weights()["layers.0.W"].dtype == "float32":
        port, reference, exact = found
        # The smaller error is that of rounding, also where one of the two is another model.
        error = min(float(np.abs(one - exact).max()) for one in (port, reference))
        ties &= ~clear_labels(exact, error)
    else:
        ties[:] = False
    judge(RUNG, "labels", "predicted", **{name: of[~ties] for name, of in labels.items()})
    of_images = [{"of the test images": probabilities} for probabilities in found]
    judge_tensors(judge, RUNG, "layer output", *of_images, step="the end")
    return int(ties.sum())
