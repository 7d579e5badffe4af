"""Checkpoints: a training that was interrupted goes on from the last one, bit for bit.

A checkpoint is one safetensors file: the weights and the state of the optimizer are its tensors,
and a JSON object in its metadata says how far the training had come, and by which options.
"""

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

from .arguments import shown
from .command_line import say
from .files import Output, check_fields, check_folder, check_input, open_locked, read_json
from .framework import Tensor, versions
from .training import Progress
from .weights import assign, read_header, read_tensors, serialized

FORMAT = 1
KEPT = 2


class Checkpoints:
    """The checkpoints of one run, in a folder that no other run uses meanwhile.

    Args:
        folder: Made if it does not exist. The last two checkpoints stay in it.
        options: Those that settle the numbers of the run, by name.

    Raises:
        OSError: If the folder cannot be used, or another run uses it.
    """

    def __init__(self, folder: Path, options: Mapping[str, Any]) -> None:
        self.folder = check_folder(folder, "a folder for checkpoints")
        self.options = json.loads(json.dumps(options))  # as they will be read
        try:
            folder.mkdir(exist_ok=True)
            self._lock = open_locked(folder / ".lock")
        except BlockingIOError:
            raise OSError(
                f"another run writes its checkpoints to {folder}: wait for its end, or name "
                "another folder"
            ) from None
        except OSError as error:
            raise OSError(
                f"{folder} cannot hold checkpoints: {error.strerror}; expected a folder that can "
                "be written, in one that exists"
            ) from error

    def close(self) -> None:
        """Let other runs use the folder."""
        self._lock.close()

    def files(self) -> list[Path]:
        """Return the checkpoints in the folder, the last one first."""
        return sorted(self.folder.glob(f"{'[0-9]' * 7}-{'[0-9]' * 7}.safetensors"), reverse=True)

    def check_empty(self) -> None:
        """Refuse a folder that holds checkpoints of another run, which would be removed.

        Raises:
            ValueError: If there is one.
        """
        if self.files():
            raise ValueError(
                f"{self.folder} holds checkpoints: --resume {self.folder} goes on from there; "
                "or name another folder"
            )

    def save(
        self, tensors: Mapping[str, Tensor], progress: Progress, log: dict[str, Any] | None
    ) -> None:
        """Write a checkpoint down to the disk, then remove all but the last two.

        Args:
            tensors: The weights and the state of the optimizer.
            progress: Of the training.
            log: The state of its log.

        Raises:
            OSError: If it cannot be written. The earlier ones are still there.
        """
        state = {
            "format": FORMAT,
            "package": __package__,
            "versions": versions(),
            "options": self.options,
            "progress": asdict(progress),
            "log": log,
            "sha256": hashlib.sha256(serialized(tensors)).hexdigest(),
        }
        content = serialized(tensors, {"checkpoint": json.dumps(state)})
        path = self.folder / f"{progress.epoch:07}-{progress.batch:07}.safetensors"
        with Output(path, len(content)) as output:
            output.write(content)
        for old in self.files()[KEPT:]:
            old.unlink()

    def load(
        self, tensors: Mapping[str, Tensor], steps: int, other_framework: bool = False
    ) -> tuple[Progress, dict[str, Any]]:
        """Take the last checkpoint, and say aloud if other software wrote it.

        Args:
            tensors: The weights and the state of the optimizer, which are replaced.
            steps: Batches of an epoch.
            other_framework: Whether one of the other package is taken.

        Returns:
            How far the training had come, and all that the checkpoint says.

        Raises:
            FileNotFoundError: If there is none.
            ValueError: If it is of another format, of other options or of the other package,
                truncated or altered.
        """
        if not self.files():
            raise FileNotFoundError(
                f"{self.folder} holds no checkpoint: begin with --checkpoint {self.folder}"
            )
        path = self.files()[0]
        state = _read_state(path)
        for name in {**self.options, **state["options"]}:
            now, then = (found.get(name) for found in (self.options, state["options"]))
            if now != then:
                if name == "log":  # of which a checkpoint keeps no more than whether there is one
                    now, then = ("a file" if found else "no file" for found in (now, then))
                raise ValueError(
                    f"--{name.replace('_', '-')} is {shown(now)}, but {path} was made with "
                    f"{shown(then)}: give the same options"
                )
        if state["package"] != __package__ and not other_framework:
            raise ValueError(
                f"{path} was made by {shown(state['package'])}, and this is {__package__}: say "
                "--other-framework to go on all the same"
            )
        progress = _read_progress(path, state["progress"], self.options["epochs"], steps)
        loaded = read_tensors(path, tensors)
        if hashlib.sha256(serialized(loaded)).hexdigest() != state["sha256"]:
            raise ValueError(f"{path} is altered: remove it, to go on from the one before")
        assign(tensors, loaded)
        if state["versions"] != versions():
            say(
                f"{__package__}: {path} was made by {shown(state['package'])} with "
                f"{shown(json.dumps(state['versions']))}: from here on the numbers are those of "
                f"{json.dumps(versions())}"
            )
        return progress, state


def _read_state(path: Path) -> dict[str, Any]:
    """Return what a checkpoint says, its fields validated."""
    check_input(path, "a checkpoint")
    try:
        metadata = read_header(path).get("__metadata__", {})
    except ValueError as error:
        raise ValueError(f"{error}; remove it, to go on from the one before") from error
    if "checkpoint" not in metadata:
        raise ValueError(f"{path} is not a checkpoint: expected one that --checkpoint wrote")
    what = f"the checkpoint {path}"
    state = read_json(metadata["checkpoint"].encode(), what)
    check_fields(state, {"format": int}, what)
    if state["format"] != FORMAT:
        raise ValueError(f"{path} is of format {shown(state['format'])}: expected {FORMAT}")
    kinds = {"package": str, "versions": dict, "options": dict, "progress": dict, "sha256": str}
    check_fields(state, kinds, what)
    if (log := state.get("log")) is not None:
        check_fields(log, {"bytes": int, "sha256": str}, what)
        if not 0 <= log["bytes"] < 2**60:
            raise ValueError(f"{what} holds 'bytes' as {shown(log['bytes'])}: expected a length")
    return state


def _read_progress(path: Path, found: dict[str, Any], epochs: int, steps: int) -> Progress:
    """Return how far a training had come, if it can have come that far."""
    what = f"the checkpoint {path}"
    kinds = {field.name: type(field.default) for field in fields(Progress)}
    check_fields(found, kinds, what)
    if unknown := sorted(found.keys() - kinds.keys()):
        raise ValueError(f"{what} also holds {shown(', '.join(unknown))}: expected only {[*kinds]}")
    progress = Progress(**found)
    limits = {"epoch": epochs, "batch": steps - 1, "samples": 2**31, "matches": progress.samples}
    for name, limit in limits.items():
        if not 0 <= found[name] <= limit:
            raise ValueError(f"{what} holds {name!r} as {found[name]}: expected 0 to {limit}")
    if not 0 <= progress.total_loss < math.inf:
        raise ValueError(f"{what} holds 'total_loss' as {progress.total_loss}: expected a loss")
    return progress
