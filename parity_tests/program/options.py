"""The options of `train`: to add one, add a field and say what it is for."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from cyclopts import Parameter
from cyclopts.validators import Number

from parity_tests.program.messages import UserError

Epochs = Annotated[int, Parameter(validator=Number(gte=1, lte=1_000_000))]
BatchSize = Annotated[int, Parameter(validator=Number(gte=1, lte=60_000))]
Dtype = Literal["float32", "float64"]
Device = Literal["cpu", "cuda"]


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class TrainOptions:
    """The options of `train`.

    Attributes:
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

    example: Literal["scratch", "first"] = "scratch"
    epochs: Epochs | None = None
    batch_size: BatchSize = 128
    learning_rate: Annotated[float, Parameter(validator=Number(gt=0, lt=float("inf")))] = 1e-3
    update_rule: Literal["hand", "sgd"] | None = None
    dtype: Dtype = "float32"
    seed: Annotated[int, Parameter(validator=Number(gte=0))] = 0
    shuffle: bool = False
    initial_weights: Path | None = None
    save_weights: Path | None = None
    log: Path | None = None
    tensorboard: Path | None = None
    data: Path = Path("data")
    device: Device = "cpu"
    checkpoint: Path | None = None
    checkpoint_steps: Annotated[int, Parameter(validator=Number(gte=1))] = 100
    resume: Path | None = None
    other_framework: bool = False

    def __post_init__(self) -> None:
        """Settle the number of epochs, and refuse options that contradict each other."""
        if self.epochs is None:
            object.__setattr__(self, "epochs", 10 if self.example == "scratch" else 5)
        if self.example == "first" and self.update_rule is not None:
            raise UserError(f"--update-rule is {self.update_rule}: the first example takes RMSprop")
        if self.checkpoint is not None and self.resume is not None:
            raise UserError(f"--checkpoint is {self.checkpoint}: --resume writes to its own folder")

    @property
    def folder(self) -> Path | None:
        """Where checkpoints are written, if they are."""
        return self.checkpoint or self.resume

    def settled(self) -> dict[str, Any]:
        """Return those that settle the numbers of a run, beside its initial weights."""
        names = "example", "epochs", "batch_size", "learning_rate", "update_rule", "dtype", "seed"
        return {name: getattr(self, name) for name in (*names, "shuffle", "device")}

    def logged(self) -> dict[str, Any]:
        """Return those that say what is computed, however often the run is interrupted."""
        left_out = "checkpoint", "checkpoint_steps", "resume", "other_framework"
        return {name: value for name, value in asdict(self).items() if name not in left_out}
