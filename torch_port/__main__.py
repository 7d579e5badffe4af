"""The command line: its subcommands are the first functions here, their options the arguments."""

import gc
import json
import math
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stdout
from functools import partial
from pathlib import Path
from typing import Any, Literal, TextIO, cast

import tyro
from tqdm import tqdm
from tqdm.contrib import DummyTqdmFile
from tyro.conf import DisallowNone, Positional


def train(
    *,
    example: Literal["scratch", "first"] = "scratch",
    epochs: int | None = None,
    batch_size: int = 128,
    learning_rate: float = 1e-3,
    update_rule: Literal["hand", "sgd"] | None = None,
    dtype: Literal["float32", "float64"] = "float32",
    seed: int = 0,
    shuffle: bool = False,
    initial_weights: Path | None = None,
    save_weights: Path | None = None,
    log: Path | None = None,
    tensorboard: Path | None = None,
    data: Path = Path("data"),
    device: Literal["cpu", "cuda"] = "cpu",
) -> None:
    """Train the book's network on MNIST and print its accuracy on the test set.

    Args:
        example: Built from scratch and trained by SGD, or of ready-made layers, by RMSprop.
        epochs: Passes over the 60,000 images; by default 10, and 5 of the first example.
        batch_size: Images in a batch, 1 to 60,000; the last batch holds what is left over.
        learning_rate: Step size of the update rule.
        update_rule: Of the network from scratch: by hand, the default, or by the framework.
        dtype: Of the images and the weights.
        seed: Of the initial weights and of the shuffling.
        shuffle: Draw a new order of the images for each epoch.
        initial_weights: Start from this safetensors file, not from the seed.
        save_weights: Write the trained weights to this safetensors file.
        log: Write versions, options, every loss and the accuracy to this file, as JSON lines.
        tensorboard: Write the same losses and the accuracy into this folder, for TensorBoard.
        data: Folder that holds MNIST in MNIST/raw.
        device: Where to compute.
    """
    if epochs is None:
        epochs = 10 if example == "scratch" else 5
    options = locals().copy()
    for name in ("epochs", "batch_size", "learning_rate"):
        if not 0 < options[name] < math.inf:
            flag = name.replace("_", "-")
            raise ValueError(f"--{flag} is {options[name]}: expected a number above 0")
    if seed < 0:
        raise ValueError(f"--seed is {seed}: expected 0 or above")
    if example == "first" and update_rule is not None:
        raise ValueError(f"--update-rule is {update_rule}: the first example takes RMSprop")

    from . import evaluation, first_example, framework, layers, mnist, optimizers, training, weights
    from .curves import scalar_writer

    weights.check_outputs([save_weights, log], [initial_weights])
    framework.use_device(device)
    framework.use_dtype(dtype)
    model: Any
    fit: Callable
    if example == "first":
        model = first_example.mnist_model(seed)
        fit = partial(first_example.fit, learning_rate=learning_rate)
    else:
        model = layers.mnist_model(seed, dtype)
        rules: dict[str, optimizers.UpdateRule] = {
            "hand": partial(optimizers.update_weights, learning_rate=learning_rate),
            "sgd": optimizers.SGD(learning_rate),
        }
        fit = partial(training.fit, update_weights=rules[update_rule or "hand"])
    if initial_weights is not None:
        weights.load_weights(model, initial_weights)
    (train_images, train_labels), (test_images, test_labels) = mnist.load_mnist(data, dtype)
    batches = math.ceil(len(train_images) / batch_size)

    with (
        open(log or os.devnull, "w", buffering=1) as records,
        scalar_writer(tensorboard) as write_scalar,
        progress_bar(epochs * batches) as show_progress,
    ):

        def record(**values: object) -> None:
            print(json.dumps(values, default=str, allow_nan=False), file=records)

        def on_step(epoch: int, batch: int, loss: float) -> None:
            record(epoch=epoch, batch=batch, loss=loss)
            write_scalar("loss", loss, epoch * batches + batch)
            show_progress(loss)

        record(
            versions=framework.versions(),
            options=options,
            initial_weights_sha256=weights.weights_sha256(model),
        )
        try:
            fit(
                model,
                train_images,
                train_labels,
                epochs,
                batch_size,
                shuffle_seed=seed if shuffle else None,
                on_step=on_step,
            )
        except training.DivergenceError as error:
            print(f"{__package__}: {error} (learning rate {learning_rate:g})", file=sys.stderr)
            sys.exit(1)
        accuracy = evaluation.evaluate(model, test_images, test_labels)
        record(accuracy=accuracy)
        write_scalar("accuracy", accuracy, epochs * batches)

    print(f"accuracy: {accuracy:.2f}")
    if save_weights is not None:
        weights.save_weights(model, save_weights)


def evaluate(
    weights: Path,
    *,
    dtype: Literal["float32", "float64"] = "float32",
    data: Path = Path("data"),
    predictions: Path | None = None,
    device: Literal["cpu", "cuda"] = "cpu",
) -> None:
    """Print the accuracy of saved weights on the 10,000 test images, to four decimals.

    Args:
        weights: Safetensors file that `train --save-weights` of either package wrote.
        dtype: Of the images and of the weights in the file.
        data: Folder that holds MNIST in MNIST/raw.
        predictions: Write the predicted labels to this text file, one a line.
        device: Where to compute.
    """
    from . import evaluation, framework, mnist
    from . import weights as weights_files
    from .layers import mnist_model

    weights_files.check_outputs([predictions], [weights])
    framework.use_device(device)
    model = mnist_model(dtype=dtype)
    weights_files.load_weights(model, weights)
    _, (images, labels) = mnist.load_mnist(data, dtype)
    print(f"accuracy: {evaluation.evaluate(model, images, labels):.4f}")
    if predictions is not None:
        lines = "".join(f"{label}\n" for label in evaluation.predict(model, images))
        weights_files.write_whole(predictions, lines.encode())


def gradients() -> None:
    """Print the book's gradient examples, number by number."""
    from .gradients import walk_through

    walk_through()


def notebook(
    file: Positional[Path],
    *,
    epochs: int = 10,
    batch_size: int = 128,
    run: bool = True,
    data: Path = Path("data"),
) -> None:
    """Write the book's section as a notebook, made of this package's source.

    Args:
        file: The notebook to write, in .ipynb; its cells seek MNIST from its folder.
        epochs: Passes over the training images; the first example makes half as many.
        batch_size: Images in a batch.
        run: Run the cells, so that the notebook holds what they print.
        data: Folder that holds MNIST in MNIST/raw.
    """
    from . import weights
    from .notebook import make_notebook

    weights.check_outputs([file], [])
    weights.write_whole(file, make_notebook(file, data, epochs, batch_size, run))


@contextmanager
def progress_bar(steps: int) -> Iterator[Callable[[float], None]]:
    """Show loss, steps per second and time left on standard error, if it is a terminal."""
    with tqdm(total=steps, unit="step", disable=None) as bar:

        def show_progress(loss: float) -> None:
            bar.set_postfix(loss=f"{loss:.2f}", refresh=False)
            bar.update()

        # What is printed meanwhile goes above the bar, not into its line.
        stdout = sys.stdout if bar.disable else cast(TextIO, DummyTqdmFile(sys.stdout))
        with redirect_stdout(stdout):
            yield show_progress


def main() -> None:
    """Run the command line; whatever the user can mend is one sentence and exit status 2."""
    try:
        tyro.extras.subcommand_cli_from_dict(
            {"train": train, "evaluate": evaluate, "gradients": gradients, "notebook": notebook},
            prog=f"python -m {__package__}",
            config=(DisallowNone,),
        )
    except (ImportError, OSError, ValueError) as error:
        print(f"{__package__}: {error}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        sys.exit(130)  # as a shell says of what Ctrl-C ended


if __name__ == "__main__":
    main()
    gc.freeze()  # or Python searches a whole framework for garbage before it ends
