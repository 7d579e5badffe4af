"""Checkpoints: a training that was interrupted goes on from the last one, bit for bit.

A checkpoint is one safetensors file: the weights and the state of the optimizer are its tensors,
and a JSON object in its metadata says how far the training had come, and by which options.
"""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import safetensors

from parity_tests.program.files import Output, check_folder, check_input, open_locked
from parity_tests.program.frameworks import Twin
from parity_tests.program.messages import UserError, say, shown

FORMAT = 2
KEPT = 2
UNSIGNED = b"-" * 64
"""In the place of the SHA-256 of a checkpoint while that is computed, over the whole file."""


class Checkpoints:
    """The checkpoints of one run, in a folder that no other run uses meanwhile.

    Args:
        twin: The package that trains.
        folder: Made if it does not exist. The last two checkpoints stay in it.
        options: Those that settle the numbers of the run, by name.
    """

    def __init__(self, twin: Twin, folder: Path, options: Mapping[str, Any]) -> None:
        self.twin = twin
        check_folder(folder, "a folder for checkpoints")
        self.folder = folder
        self.options = json.loads(json.dumps(options))  # as they will be read
        try:
            folder.mkdir(exist_ok=True)
            self._lock = open_locked(folder / ".lock", folder)
        except OSError as error:
            if error.errno is None:  # it says all
                raise
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
        """Refuse a folder that holds checkpoints of another run, which would be removed."""
        if self.files():
            raise UserError(
                f"{self.folder} holds checkpoints: --resume {self.folder} goes on from there; "
                "or name another folder"
            )

    def save(
        self, tensors: Mapping[str, Any], progress: Mapping[str, Any], log: dict[str, Any] | None
    ) -> None:
        """Write a checkpoint down to the disk, then remove all but the last two."""
        state = {
            "format": FORMAT,
            "package": self.twin.name,
            "versions": self.twin.framework.versions(),
            "options": self.options,
            "progress": dict(progress),
            "log": log,
        }
        metadata = {"checkpoint": json.dumps(state), "sha256": UNSIGNED.decode()}
        content = self.twin.weights.serialized(tensors, metadata)
        content = content.replace(UNSIGNED, hashlib.sha256(content).hexdigest().encode(), 1)
        path = self.folder / f"{progress['epoch']:07}-{progress['batch']:07}.safetensors"
        with Output(path, len(content)) as output:
            output.write(content)
        for old in self.files()[KEPT:]:
            old.unlink()

    def load(self, tensors: Mapping[str, Any], other_framework: bool = False) -> dict[str, Any]:
        """Take the tensors of the last checkpoint, and return what else it says."""
        if not self.files():
            raise FileNotFoundError(
                f"{self.folder} holds no checkpoint: begin with --checkpoint {self.folder}"
            )
        path = self.files()[0]
        check_input(path, "a checkpoint")
        try:
            state = _read(path)
        except ValueError as error:
            raise UserError(f"{error}; remove it, to go on from the one before") from error
        self._check_options(path, state["options"])
        if state["package"] != self.twin.name and not other_framework:
            raise UserError(
                f"{path} was made by {state['package']}, and this is {self.twin.name}: say "
                "--other-framework to go on all the same"
            )
        self.twin.weights.assign(tensors, self.twin.weights.read_tensors(path, tensors))
        if state["versions"] != (now := self.twin.framework.versions()):
            say(
                f"{path} was made by {state['package']} with {json.dumps(state['versions'])}: from "
                f"here on the numbers are those of {json.dumps(now)}"
            )
        return state

    def _check_options(self, path: Path, options: Mapping[str, Any]) -> None:
        """Refuse a checkpoint of a run with other options."""
        for name in {**self.options, **options}:
            now, then = (found.get(name) for found in (self.options, options))
            if now != then:
                if name == "log":  # of which a checkpoint keeps no more than whether there is one
                    now, then = ("a file" if found else "no file" for found in (now, then))
                raise UserError(
                    f"--{name.replace('_', '-')} is {shown(now)}, but {path} was made with "
                    f"{shown(then)}: give the same options"
                )


def _read(path: Path) -> dict[str, Any]:
    """Return what a checkpoint says, beside its tensors, once its SHA-256 was compared."""
    try:
        with safetensors.safe_open(path, framework="numpy") as file:
            metadata = file.metadata() or {}
    except safetensors.SafetensorError as error:
        raise UserError(f"{path} is not a whole safetensors file: {error}") from error
    if "checkpoint" not in metadata:
        raise UserError(f"{path} is not a checkpoint: expected one that --checkpoint wrote")
    sha256 = metadata.get("sha256", "")
    content = path.read_bytes().replace(sha256.encode(), UNSIGNED, 1)
    if hashlib.sha256(content).hexdigest() != sha256:
        raise UserError(f"{path} is altered, or of another version of this program")
    state = json.loads(metadata["checkpoint"])
    if state["format"] != FORMAT:
        raise UserError(f"{path} is of format {state['format']}: expected {FORMAT}")
    return state
