"""The process that a user's file runs in: runs it once, and does what it is asked.

It speaks of named weights, of any number and any shape, of a step, and of optional parts. What
the weights mean, whoever asks knows.
"""

import inspect
import os
import random
import sys
from multiprocessing.connection import Connection
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch

from parity_tests.check.guest import source
from parity_tests.check.guest.answering import answer_calls
from parity_tests.check.guest.containment import contain
from parity_tests.check.guest.find import function_of
from parity_tests.ports.find import find
from parity_tests.ports.found_module import FoundModule, plain_step
from parity_tests.ports.state import State
from parity_tests.ports.watch import Watch

MODULE = "their_port"


def serve(
    connection: Connection,
    path: str,
    folder: Path,
    environment: dict[str, str],
    device: str,
    options: dict[str, Any],
) -> None:  # pragma: no cover (in the other process)
    """Answer calls about the port in a file until the other end is closed."""
    os.environ.clear()
    os.environ.update(environment)
    contain(folder, connection.fileno())
    answer_calls(connection, path, Worker(Path(path), device, **options).answer)


class Worker:
    """Their file, run once, and the sessions in which it is asked.

    Args:
        path: Of the file.
        device: Where it computes.
        model: The name of the model, if it was given.
        step: The name of the step, if it was given.
    """

    def __init__(self, path: Path, device: str, model: str | None, step: str | None) -> None:
        # What is compiled is judged as it was written.
        os.environ["TORCHDYNAMO_DISABLE"] = "1"
        self.path, self.device, self.options = path, device, (model, step)
        self.watch = Watch()
        self.sessions: dict[int, State] = {}
        self.session = 0

    def answer(
        self, arrays: dict, method: str, session: int | None = None, **options: Any
    ) -> tuple[dict, dict]:
        """Return what a method of this class or, in a session, of the port returns."""
        if session is None:
            return getattr(self, method)(arrays, **options)
        if session != self.session:
            self.sessions[self.session] = self._held()
            self.session = session
            self.sessions[session].put_back()
        return getattr(self.port, method)(arrays, **options)

    def _held(self) -> State:
        namespaces: list[Any] = [vars(module) for module in self._modules()]
        port = getattr(self, "port", None)
        return State([*namespaces, *([vars(port)] if port else [])], self._own)

    def _modules(self) -> list[ModuleType]:
        return [module for name, module in list(sys.modules.items()) if self._own(name)]

    def _own(self, name: str) -> bool:
        """Return whether a module is theirs: the file, or another one in its folder."""
        if name == MODULE:
            return True
        where = Path(getattr(sys.modules.get(name), "__file__", None) or "/")
        python = (sys.prefix, sys.base_prefix, os.path.dirname(os.__file__))
        others = any(where.is_relative_to(folder) for folder in python)
        others = others or name.split(".")[0] in ("parity_tests", "torch_port", "tf_reference")
        return where.is_relative_to(self.path.parent) and not others

    def run(self, arrays: dict) -> tuple[dict, dict]:
        """Run the file, and say what it holds."""
        tree = source.parse(self.path)
        module = ModuleType(MODULE)
        module.__file__ = str(self.path)
        sys.modules[MODULE] = module
        sys.path.insert(0, str(self.path.parent))
        sys.argv = [str(self.path)]
        _seed(0)
        exec(compile(tree, str(self.path), "exec"), vars(module))  # noqa: S102 (as an import does)
        model, step = self.options
        known = (function_of(name, vars(module)) for name in source.steps(tree))
        if step is None and not any(known):
            step = "training_step"
            vars(module)[step] = plain_step(vars(module))
        self.found = find(tree, vars(module), model, step)
        for module in self._modules():  # sees the gradients that go to it by hand
            if inspect.isfunction(rule := vars(module).get("update_weights")):
                vars(module)["update_weights"] = self.watch.by_hand(rule)
        self.after_run = self._held()
        return {
            "models": list(self.found.models),
            "step": self.found.step_name,
            "notes": self.found.notes,
            "built": self.found.built,
        }, {}

    def configure(self, arrays: dict, model: str, dtype: str) -> tuple[dict, dict]:
        """Take a model, in a dtype, and say what it is."""
        self.after_run.put_back()
        made = self.found.models[model]
        self.port = FoundModule(self.found, self.watch, made, dtype, self.device)
        self.sessions = {0: self._held()}
        self.session = 0
        return self.port.describe(), {}

    def begin(self, arrays: dict, new: int, seed: int, dropout: bool) -> tuple[dict, dict]:
        """Begin a session: everything is as it was after the file was run, but for the seed."""
        self.sessions[self.session] = self._held()
        for old in sorted(self.sessions)[1:-1]:  # all but the first and the latest
            del self.sessions[old]
        self.sessions[0].put_back()
        self.session = new
        self.watch.drops_out, self.watch.noise = dropout, []
        _seed(seed)
        return {}, {}


def _seed(seed: int) -> None:
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)
