"""The command line: its subcommands are the first functions here, their options the arguments."""

import sys

if __name__ == "__main__" and not sys.flags.safe_path:
    # No file of the current folder, such as a random.py, stands for a module of Python.
    sys.path.append(sys.path.pop(0))

import gc
import io
import math
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager, redirect_stdout
from functools import partial
from pathlib import Path
from typing import Any, Literal, TextIO, cast

from tqdm import tqdm
from tqdm.contrib import DummyTqdmFile
from tyro.conf import Positional

from . import command_line, files
from .arguments import check_integer, check_positive
from .run_log import RunLog

SETTLED = [
    *("example", "epochs", "batch_size", "learning_rate", "update_rule", "dtype", "seed"),
    *("shuffle", "device"),
]
"""The options that settle the numbers of a run, beside its initial weights."""


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
    checkpoint: Path | None = None,
    checkpoint_steps: int = 100,
    resume: Path | None = None,
    other_framework: bool = False,
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
        checkpoint: Write checkpoints to this folder, of which the last two are kept.
        checkpoint_steps: Steps of an epoch from one checkpoint to the next.
        resume: Go on from the last checkpoint in this folder, with the same options.
        other_framework: Let --resume take the other framework's.
    """
    if epochs is None:
        epochs = 10 if example == "scratch" else 5
    options = locals().copy()
    for name in ("checkpoint", "checkpoint_steps", "resume", "other_framework"):
        del options[name]  # the log says what was computed, however often it was interrupted
    check_integer("--epochs", epochs, 1, 1_000_000)
    check_integer("--batch-size", batch_size, 1, 60_000)
    check_integer("--checkpoint-steps", checkpoint_steps, 1)
    check_integer("--seed", seed, 0)
    check_positive("--learning-rate", learning_rate)
    if example == "first" and update_rule is not None:
        raise ValueError(f"--update-rule is {update_rule}: the first example takes RMSprop")
    if checkpoint is not None and resume is not None:
        raise ValueError(f"--checkpoint is {checkpoint}: --resume writes to its own folder")

    from . import checkpoint as checkpoint_files
    from . import (
        evaluation,
        first_example,
        framework,
        layers,
        mnist,
        optimizers,
        ranks,
        training,
        weights,
    )
    from .curves import scalar_writer

    framework.use_device(device)
    ranks.join()
    if ranks.group.rank > 0:
        save_weights = log = tensorboard = None
    inputs = [initial_weights, *mnist.paths(data)]
    files.check_outputs([save_weights, log], [*inputs, tensorboard], checkpoint or resume)
    framework.use_dtype(dtype)
    model: Any
    fit: Callable
    if example == "first":
        model = first_example.mnist_model(seed)
        optimizer = first_example.rmsprop(model, learning_rate)
        fit = partial(first_example.fit, optimizer=optimizer)
        state = first_example.named_velocities(model, optimizer)
    else:
        model = layers.mnist_model(seed, dtype)
        rules: dict[str, optimizers.UpdateRule] = {
            "hand": partial(optimizers.update_weights, learning_rate=learning_rate),
            "sgd": optimizers.SGD(learning_rate),
        }
        fit = partial(training.fit, update_weights=rules[update_rule or "hand"])
        state = {}  # neither rule has any
    if initial_weights is not None:
        weights.load_weights(model, initial_weights)
    initial_sha256 = weights.weights_sha256(model)
    tensors = {**weights.named_weights(model), **state}
    (train_images, train_labels), (test_images, test_labels) = mnist.load_mnist(data, dtype)
    steps = math.ceil(len(train_images) / batch_size)
    settled = {name: options[name] for name in SETTLED}
    ranks.check_same(settled | framework.versions(), train_images, train_labels)

    with framework.shortage_named(), ExitStack() as stack:
        output = checkpoints = None
        if save_weights is not None:
            size = len(weights.serialized(weights.named_weights(model)))
            output = stack.enter_context(files.Output(save_weights, size))
        folder = checkpoint or resume
        if folder and ranks.group.rank == 0:
            settled |= {"log": log is not None, "initial_weights": initial_sha256}
            checkpoints = checkpoint_files.Checkpoints(folder, settled)
            stack.enter_context(closing(checkpoints))
        progress, earlier = training.Progress(), None
        if resume and checkpoints:
            progress, earlier = checkpoints.load(tensors, steps, other_framework)
        elif checkpoints:
            checkpoints.check_empty()
        ranks.take_over(tensors, progress)
        run_log = stack.enter_context(closing(RunLog(log, earlier and earlier["log"])))
        if earlier is None:
            run_log.record(
                versions=framework.versions(),
                options=options,
                initial_weights_sha256=initial_sha256,
            )
        elif earlier["versions"] != framework.versions():
            run_log.record(
                epoch=progress.epoch, batch=progress.batch, versions=framework.versions()
            )
        write_scalar = stack.enter_context(scalar_writer(tensorboard))
        waiting = stack.enter_context(command_line.signals_held_back(folder is not None))
        done = progress.epoch * steps + progress.batch
        show_progress = stack.enter_context(progress_bar(epochs * steps, done, ranks.group.rank))

        def save() -> None:
            if checkpoints is not None:
                training.check_weights(model, progress.epoch)
                checkpoints.save(tensors, progress, run_log.state())
            if waiting and ranks.group.rank == 0:  # which ends the others
                command_line.say(f"{__package__}: interrupted: --resume {folder} goes on")
                command_line.end(waiting[0][0])
            if waiting and time.monotonic() > waiting[0][1] + 5:  # rank 0 was not asked to end
                command_line.say(f"{__package__}: rank {ranks.group.rank} was interrupted alone")
                command_line.end(waiting[0][0])

        def on_step(epoch: int, batch: int, loss: float) -> None:
            run_log.record(epoch=epoch, batch=batch, loss=loss)
            write_scalar("loss", loss, epoch * steps + batch)
            show_progress(loss)
            if batch + 1 < steps and (waiting or (batch + 1) % checkpoint_steps == 0):
                save()

        if checkpoints is not None and earlier is None:
            save()
        try:
            fit(
                model,
                train_images,
                train_labels,
                epochs,
                batch_size,
                shuffle_seed=seed if shuffle else None,
                on_step=on_step,
                on_epoch=lambda epoch: save(),
                progress=progress,
            )
        except ranks.RankError as error:
            goes_on = f": --resume {folder} goes on from the last checkpoint" if folder else ""
            raise ranks.RankError(f"{error}{goes_on}") from error
        except training.DivergenceError as error:
            command_line.say(f"{__package__}: {error} (learning rate {learning_rate:g})")
            sys.exit(1)
        accuracy = evaluation.evaluate(model, test_images, test_labels)
        run_log.record(accuracy=accuracy)
        write_scalar("accuracy", accuracy, epochs * steps)
        print(f"accuracy: {accuracy:.2f}")
        alike = accuracy < 0.2 and len(set(evaluation.predict(model, test_images))) == 1
        if alike and ranks.group.rank == 0:
            command_line.say(
                f"{__package__}: all test images are given one label: train for longer, or with a "
                f"smaller --learning-rate than {learning_rate:g}"
            )
        if save_weights is not None:
            content = weights.serialized(weights.named_weights(model))
            files.write_or_rescue(save_weights, content, "the trained weights", output)
        run_log.check()


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

    files.check_outputs([predictions], [weights, *mnist.paths(data)])
    framework.use_device(device)
    model = mnist_model(dtype=dtype)
    weights_files.load_weights(model, weights)
    _, (images, labels) = mnist.load_mnist(data, dtype)
    print(f"accuracy: {evaluation.evaluate(model, images, labels):.4f}")
    if predictions is not None:
        lines = "".join(f"{label}\n" for label in evaluation.predict(model, images))
        files.write_whole(predictions, lines.encode())


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
    from .notebook import make_notebook

    check_integer("--epochs", epochs, 1, 1_000_000)
    check_integer("--batch-size", batch_size, 1, 60_000)
    files.check_outputs([file], [])
    files.write_whole(file, make_notebook(file, data, epochs, batch_size, run))


@contextmanager
def progress_bar(steps: int, done: int, rank: int) -> Iterator[Callable[[float], None]]:
    """Show loss, steps per second and time left on standard error, if it is a terminal.

    Meanwhile, rank 0 alone prints.
    """
    with tqdm(total=steps, initial=done, unit="step", disable=rank > 0 or None) as bar:

        def show_progress(loss: float) -> None:
            bar.set_postfix(loss=f"{loss:.2f}", refresh=False)
            bar.update()

        # What is printed meanwhile goes above the bar, not into its line.
        stdout = sys.stdout if bar.disable else cast(TextIO, DummyTqdmFile(sys.stdout))
        stdout = io.StringIO() if rank > 0 else stdout
        with redirect_stdout(stdout):
            yield show_progress


def main() -> None:
    """Run the command line; whatever the user can mend is one sentence and exit status 2."""
    commands: dict[str, Callable] = {
        "train": train,
        "evaluate": evaluate,
        "gradients": gradients,
        "notebook": notebook,
    }

    def run() -> None:
        command_line.parse(commands, f"python -m {__package__}")()

    sys.exit(command_line.guarded(run, str(__package__)))


if __name__ == "__main__":
    try:
        main()
    finally:
        gc.freeze()  # or Python searches a whole framework for garbage before it ends
