"""The command `train`: one run, from its options to the accuracy."""

import io
import math
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager, redirect_stdout
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import Any, TextIO, cast

from tqdm import tqdm
from tqdm.contrib import DummyTqdmFile

from parity_tests.program import files, process
from parity_tests.program.checkpoints import Checkpoints
from parity_tests.program.curves import scalar_writer
from parity_tests.program.frameworks import Framework, Twin
from parity_tests.program.messages import say
from parity_tests.program.options import TrainOptions
from parity_tests.program.ranks import averaged, check_same, shared, taken_over
from parity_tests.program.run_log import RunLog

DEFAULTS = TrainOptions()


def train(framework: Framework, /, *, options: TrainOptions = DEFAULTS) -> None:
    """Train the book's network on MNIST and print its accuracy on the test set.

    Args:
        framework: Which one trains.
        options: Those of `TrainOptions`.
    """
    twin = Twin(framework)
    twin.framework.use_device(options.device)
    ranks = twin.ranks.join()
    if ranks and ranks.rank > 0:
        options = replace(options, save_weights=None, log=None, tensorboard=None)
    inputs = [options.initial_weights, *twin.mnist.paths(options.data)]
    outputs = [options.save_weights, options.log]
    files.check_outputs(outputs, [*inputs, options.tensorboard], options.folder)
    files.check_data(options.data)
    twin.framework.use_dtype(options.dtype)
    with twin.framework.shortage_named(), ExitStack() as stack:
        Run(twin, options, ranks, stack).train()


@dataclass
class Course:
    """How far a run has come: a `Progress`, and which weights the epoch began with."""

    epoch: int = 0
    batch: int = 0
    total_loss: float = 0.0
    matches: int = 0
    initial_sha256: str = ""

    def start(self, twin: Twin) -> Any:
        """Return where a loop of the package begins."""
        return twin.training.Progress(self.epoch, self.batch, self.total_loss, self.matches)

    def watched(self, step: Callable) -> Callable:
        """Return a training step whose losses and matches are added up here."""

        def watched_step(model: Any, images_batch: Any, labels_batch: Any, rule: Any) -> Any:
            found = step(model, images_batch, labels_batch, rule)
            loss, accuracy = found if isinstance(found, list | tuple) else (found, 0.0)
            if math.isfinite(loss):
                self.total_loss += float(loss) * len(labels_batch)
                self.matches += round(float(accuracy) * len(labels_batch))
            return found

        return watched_step


class Run:
    """One training, with all that it reads and writes; the stack closes what it opens."""

    def __init__(self, twin: Twin, options: TrainOptions, ranks: Any, stack: ExitStack) -> None:
        self.twin, self.options, self.ranks = twin, options, ranks
        self.prints = ranks is None or ranks.rank == 0
        self.model, self.fit, step, state = assembled(twin, options, ranks)
        if options.initial_weights is not None:
            what = "a safetensors file, as `train --save-weights` writes it"
            files.check_input(options.initial_weights, what)
            twin.weights.load_weights(self.model, options.initial_weights)
        self.initial_sha256 = twin.weights.weights_sha256(self.model)
        self.tensors: Mapping[str, Any] = {**twin.weights.named_weights(self.model), **state}
        self.train_set, self.test_set = twin.mnist.load_mnist(options.data, options.dtype)
        self.steps = math.ceil(len(self.train_set[0]) / options.batch_size)
        check_same(ranks, options.settled() | twin.framework.versions(), *self.train_set)
        self._open(stack)
        self.step = self.course.watched(step)

    def _open(self, stack: ExitStack) -> None:
        """Claim what is written, and go on where an earlier run ended."""
        options, twin = self.options, self.twin
        self.output = None
        if options.save_weights is not None:
            size = len(twin.weights.serialized(twin.weights.named_weights(self.model)))
            self.output = stack.enter_context(files.Output(options.save_weights, size))
        self.course = Course(initial_sha256=self.initial_sha256)
        earlier, self.checkpoints = None, None
        if options.folder and self.prints:
            settled = options.settled() | {
                "log": options.log is not None,
                "initial_weights": self.initial_sha256,
            }
            self.checkpoints = Checkpoints(twin, options.folder, settled)
            stack.enter_context(closing(self.checkpoints))
            if options.resume:
                earlier = self.checkpoints.load(self.tensors, options.other_framework)
                self.course = Course(**earlier["progress"])
            else:
                self.checkpoints.check_empty()
        self.course = taken_over(twin, self.ranks, self.tensors, self.course)
        self.log = stack.enter_context(closing(RunLog(options.log, earlier and earlier["log"])))
        self._begin_log(earlier)
        self.write_scalar = stack.enter_context(scalar_writer(options.tensorboard, twin.name))
        held_back = process.signals_held_back(options.folder is not None)
        self.waiting = stack.enter_context(held_back)
        done = self.course.epoch * self.steps + self.course.batch
        bar = progress_bar((options.epochs or 0) * self.steps, done, self.prints)
        self.show_progress = stack.enter_context(bar)
        self.new = earlier is None

    def _begin_log(self, earlier: dict[str, Any] | None) -> None:
        versions = self.twin.framework.versions()
        if earlier is None:
            self.log.record(
                versions=versions,
                options=self.options.logged(),
                initial_weights_sha256=self.initial_sha256,
            )
        elif earlier["versions"] != versions:
            self.log.record(epoch=self.course.epoch, batch=self.course.batch, versions=versions)

    def train(self) -> None:
        """Train, save the weights and print the accuracy."""
        options, training = self.options, self.twin.training
        if self.new:
            self.save()
        try:
            self.fit(
                *self.train_set,
                options.epochs,
                options.batch_size,
                shuffle_seed=options.seed if options.shuffle else None,
                start=self.course.start(self.twin),
                step=self.step,
                on_step=self.on_step,
                on_epoch=self.on_epoch,
            )
        except self.twin.ranks.RankError as error:
            folder = options.folder
            goes_on = f": --resume {folder} goes on from the last checkpoint" if folder else ""
            raise self.twin.ranks.RankError(f"{error}{goes_on}") from error
        except training.DivergenceError as error:
            say(f"{error} (learning rate {options.learning_rate:g})")
            sys.exit(1)
        self.finish()

    def on_step(self, epoch: int, batch: int, loss: float) -> None:
        """Write down the loss of a step, and save now and then."""
        self.log.record(epoch=epoch, batch=batch, loss=loss)
        self.write_scalar("loss", loss, epoch * self.steps + batch)
        self.show_progress(loss)
        self.course.batch = batch + 1
        due = (batch + 1) % self.options.checkpoint_steps == 0
        if batch + 1 < self.steps and (self.waiting or due):
            self.save()

    def on_epoch(self, epoch: int) -> None:
        """Refuse a training that is stuck, and save."""
        sha256 = self.twin.weights.weights_sha256(self.model)
        average_loss = self.course.total_loss / len(self.train_set[0])
        guess = math.log(10)
        if average_loss > guess and sha256 == self.course.initial_sha256:
            raise self.twin.training.DivergenceError(
                f"epoch {epoch} changed no weight, at an average loss of {average_loss:.2f}, where "
                f"a guess has {guess:.2f}"
            )
        self.course.__dict__.update(asdict(Course(epoch + 1, initial_sha256=sha256)))
        self.save()

    def save(self) -> None:
        """Write a checkpoint, if there is a folder for it; end, if a signal asks for it."""
        if self.checkpoints is not None:
            self.twin.training.check_weights(self.model, self.course.epoch)
            self.checkpoints.save(self.tensors, asdict(self.course), self.log.state())
        if self.waiting and self.prints:  # which ends the other ranks
            say(f"interrupted: to go on, repeat the command with --resume {self.options.folder}")
            process.end(self.waiting[0][0])
        if self.waiting and time.monotonic() > self.waiting[0][1] + 5:  # rank 0 was not asked to
            say(f"rank {self.ranks.rank} was interrupted alone")
            process.end(self.waiting[0][0])

    def finish(self) -> None:
        """Print the accuracy, and write the weights."""
        evaluation, weights = self.twin.evaluation, self.twin.weights
        accuracy = evaluation.evaluate(self.model, *self.test_set)
        self.log.record(accuracy=accuracy)
        self.write_scalar("accuracy", accuracy, (self.options.epochs or 0) * self.steps)
        print(f"accuracy: {accuracy:.2f}")
        images, _ = self.test_set
        alike = accuracy < 0.2 and len(set(evaluation.predict(self.model, images))) == 1
        if alike and self.prints:
            say(
                "all test images are given one label: train for longer, or with a smaller "
                f"--learning-rate than {self.options.learning_rate:g}"
            )
        if self.output is not None:
            content = weights.serialized(weights.named_weights(self.model))
            files.write_or_rescue(self.output.path, content, "the trained weights", self.output)
        self.log.check()


def assembled(
    twin: Twin, options: TrainOptions, ranks: Any
) -> tuple[Any, Callable, Callable, Mapping[str, Any]]:
    """Return the model, the loop that trains it, its step, and the state of its optimizer."""
    if options.example == "first":
        example = twin.first_example
        model = example.mnist_model(options.seed)
        optimizer = example.rmsprop(model, options.learning_rate)
        if ranks:
            ranks.average_gradients(optimizer)
        fit = partial(example.fit, model, optimizer=optimizer)
        state = example.named_velocities(model, optimizer)
        return model, fit, shared(example.one_training_step, ranks), state
    model = twin.layers.mnist_model(options.seed, options.dtype)
    rule = partial(twin.optimizers.update_weights, learning_rate=options.learning_rate)
    if options.update_rule == "sgd":
        rule = twin.optimizers.SGD(options.learning_rate)
    fit = partial(twin.training.fit, model, update_weights=averaged(rule, ranks))
    return model, fit, shared(twin.training.one_training_step, ranks), {}


@contextmanager
def progress_bar(steps: int, done: int, prints: bool) -> Iterator[Callable[[float], None]]:
    """Show loss, steps per second and time left on standard error, if it is a terminal.

    Meanwhile, rank 0 alone prints.
    """
    with tqdm(total=steps, initial=done, unit="step", disable=None if prints else True) as bar:

        def show_progress(loss: float) -> None:
            bar.set_postfix(loss=f"{loss:.2f}", refresh=False)
            bar.update()

        # What is printed meanwhile goes above the bar, not into its line.
        stdout = sys.stdout if bar.disable else cast(TextIO, DummyTqdmFile(sys.stdout))
        with redirect_stdout(stdout if prints else io.StringIO()):
            yield show_progress
