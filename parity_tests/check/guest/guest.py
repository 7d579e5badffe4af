"""The process that a stranger's program runs in: as it is, watched, and asked by forks.

The program runs up to the first forward pass of its training, or to its end. There it waits. For
each question a child is forked, which has the weights overwritten and goes on by itself; after the
steps that are asked for it is ended. So nothing has to be put back, and nothing can be forgotten.
"""

import gc
import os
import sys
import time
from collections.abc import Mapping
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from pathlib import Path
from types import ModuleType
from typing import Any, NoReturn

import numpy as np
import torch

from parity_tests.check import source
from parity_tests.check.answering import answer_of, described
from parity_tests.check.containment import contain
from parity_tests.check.guest import modules, unattended
from parity_tests.check.guest.calls import Makings
from parity_tests.check.guest.driving import Driver
from parity_tests.check.guest.modules import Asked, state, trained
from parity_tests.check.guest.noise import Noise
from parity_tests.check.guest.steps import Outermost, Step, moved_by, shown
from parity_tests.check.guest.tensors import copy, held, names_of_weights, to_numpy
from parity_tests.check.guest.watch import Watch
from parity_tests.check.messages import (
    NotObservable,
    UnusablePort,
    decode,
    encode,
    said_of_itself,
)


def serve(
    connection: Connection,
    path: str,
    folder: Path,
    environment: dict[str, str],
    options: dict[str, Any],
) -> None:  # pragma: no cover (in the other process)
    """Run a program and answer questions about it until the other end is closed."""
    if not options["of_keras"]:
        connection.send_bytes(unattended.mnist(options["data"]))
    os.environ.clear()
    os.environ.update(environment)
    contain(folder, connection.fileno())
    Guest(connection, Path(path), **options).run()


class Guest:
    """A program that is run and watched.

    Args:
        connection: To whoever asks.
        path: Of the program.
        data: Holds MNIST in MNIST/raw.
        double: Whether float32 stands for float64 in all that the program computes.
        of_keras: Whether it is the port of a Keras model, a module, and not the book's network.
        model: The name of the model, if it was given and the file trains nothing by itself.
        step: The name of the step, likewise.
    """

    def __init__(
        self,
        connection: Connection,
        path: Path,
        data: str,
        double: bool,
        of_keras: bool,
        model: str | None,
        step: str | None,
    ) -> None:
        self.connection, self.path, self.data = connection, path, data
        self.model, self.step, self.of_keras = model, step, of_keras
        self.makings = Makings(str(path))  # whose hooks come before those of the watch
        self.watch = Watch(str(path))
        self.watch.double = double
        self.noise = Noise()
        self.module: Asked | None = None
        self.modules: dict[int, Any] = {}
        self.inputs: dict[str, np.ndarray] = {}
        self.drawn: list[str] = []
        if of_keras:
            self.watch.detailed = False
            outermost = Outermost(self.watch.settle)
            self.watch.on_meeting = outermost.meet
            self.watch.on_gradients = outermost.take
        self.target = 1
        self.known: dict[int, torch.Tensor] = {}
        self.answer: Connection | None = None
        self.wanted, self.until = 0, 0.0
        self.brief = self.named = self.last = False
        self.names: dict[str, Any] = {}
        self.asked: dict[str, Any] = {}

    def run(self) -> None:
        """Run the program, and answer what is asked where it waits."""
        try:
            tree = source.parse(self.path)
            code = compile(tree, str(self.path), "exec")
            self._prepare()
            self.watch.on_pass = self._on_pass
            self.watch.on_step = self._on_step
            with self.watch:
                exec(code, self.names)  # noqa: S102 (as an import does)
        except SystemExit as error:
            if error.code not in (None, 0):
                self._end(error)
        except BaseException as error:  # noqa: BLE001 (whatever it raises is the answer)
            self._end(error)
        self.watch.settle()
        if self.answer is not None:
            self._finish("it ran to its end")
        self._drive(tree)

    def _prepare(self) -> None:
        """Make what a program expects that nobody sits before."""
        unattended.prepare(self.path, self.data, self.watch.double)
        main = ModuleType("__main__")
        main.__file__ = str(self.path)
        self.names = vars(main)
        sys.modules["__main__"] = main
        unattended.seed(0)

    def _drive(self, tree: Any) -> None:
        """Answer questions about a program that trains nothing by itself."""
        self.target = -1  # what it computes while it is prepared is no training
        try:
            with self.watch:
                names = self.model, self.step
                driver = Driver(tree, self.names, self.watch, *names, of_keras=self.of_keras)
            said: dict[str, Any] = driver.describe()
        except BaseException as error:  # noqa: BLE001 (as above)
            self._end(error)
        self._send({"at": "end", **said})
        while True:
            asked = self._wait()
            if asked is None:
                continue
            call, arrays = asked
            self.target = self.watch.passes + 1 if self.answer is None else -1
            try:
                with self.watch:
                    found = driver.call(call["drive"], arrays)
                others = (
                    tensor
                    for name, value in [*self.names.items(), *driver.models.items()]
                    for _, tensor in held(name, value, 3)
                )
                self.watch.settle(others)
                loaded = found if call["drive"]["name"] in ("load_mnist", "batch") else {}
                self._finish("", {f"returned {k}": to_numpy(a) for k, a in loaded.items()})
            except NotObservable as error:
                self._finish(str(error), unseen=True)
            except BaseException as error:  # noqa: BLE001 (as above)
                self._end(error)

    def _on_pass(self, number: int) -> bool:
        """Wait here, if this is the pass that is asked about; return whether it was asked."""
        if self.answer is None and number == self.target:
            self._send({"at": "pass", "number": number, **said_of_itself(self.names)})
            asked = self._wait() is not None  # in a child
            self.makings.require_again()
            return asked
        return False

    def _on_step(self, step: Step) -> None:
        if self.answer is None:
            return
        if self.of_keras and self.brief:
            step.forget()
            if time.monotonic() > self.until:
                self._finish("")
        elif self.of_keras:
            module = self.module.module if self.module else trained(step)
            step.state = {name: copy(w) for name, w in state(module).items()} if module else {}
            self.drawn = self.drawn or list(self.noise.drawn)
        elif self.brief:  # of a long training, only what is shown is kept
            step.rate = moved_by(step)
            step.before, step.gradients, step.after = [], [], step.after if self.last else []
            for earlier in self.watch.steps[-2:-1]:
                earlier.after = []
        if len(self.watch.steps) >= self.wanted:
            self._finish("")

    def _wait(self) -> tuple[dict[str, Any], dict[str, np.ndarray]] | None:
        """Answer questions by forks. Return in a child with what it is asked; or go on."""
        while True:
            try:
                call, arrays = decode(self.connection.recv_bytes())
            except (EOFError, OSError):
                os._exit(0)
            if call["method"] == "go on":
                self.target = call.get("to", self.watch.passes + 1)
                return (call, arrays) if "drive" in call else None
            self._find_tensors(arrays)
            self._find_module(call.get("module"))
            answers, answering = Pipe(duplex=False)
            child = os.fork()
            if not child:
                gc.disable()  # it would copy the memory that is shared
                self.answer = answering
                self._become(call, arrays)
                return call, arrays
            answering.close()
            self.connection.send_bytes(answer_of(child, answers))

    def _become(self, call: dict[str, Any], arrays: dict[str, np.ndarray]) -> None:
        """Go on from here as what was asked: with other weights, or without dropout."""
        watch, self.asked = self.watch, call
        watch.steps, self.wanted = [], call["steps"]
        self.noise.on = not call.get("still", False)
        self.brief, self.until = call.get("brief", False), time.monotonic() + call.get("seconds", 0)
        if "module" in call:
            self._take_module(call, arrays)
            return
        watch.detailed = not (self.brief or self.of_keras)
        self.named = call.get("named", False)
        self.last = call.get("last", False)
        weights = {int(name): array for name, array in arrays.items() if name.isdigit()}
        if missing := weights.keys() - self.known.keys():
            self._finish(f"{len(missing)} of its weights are made in the step", unseen=True)
        for key, array in weights.items():
            weight = self.known[key]
            weight.data.copy_(torch.from_numpy(array).reshape(weight.shape))
        if "changes" in call:
            self.makings.see(None, call["changes"])

    def _take_module(self, call: dict[str, Any], arrays: dict[str, np.ndarray]) -> None:
        """Give the module its weights; and answer, if it is asked itself."""
        try:
            self.module = Asked(self.modules[call["module"]], self.noise)
            for name, array in arrays.items():
                if name.startswith("weight "):
                    modules.load(self.module.module, name.removeprefix("weight "), array)
            unattended.seed(call.get("seed", 0))
            if "changes" in call:
                self.makings.see(self.module.module, call["changes"])
            size = call.get("drive", {}).get("batch_size")  # of a step, of those that follow
            self.inputs = {n: a[:size] for n, a in arrays.items() if n.startswith("inputs ")}
            if "look" in call:
                with self.watch:
                    said, found = getattr(self.module, call["look"])(arrays, **call["options"])
                plain = {"ended": "", "error": False, "unseen": False, "steps": []}
                self._answer({**plain, **said, **self._calls_of(call)}, found)
        except BaseException as error:  # noqa: BLE001 (whatever it raises is the answer)
            self._end(error)

    def _calls_of(self, asked: Mapping[str, Any]) -> dict[str, Any]:
        """Return the calls that were noted, if they are asked for."""
        calls = self.makings.calls
        if calls is None or not asked.get("noted"):
            return {}
        return {"noted": calls.noted, "optimizers": [*calls.optimizers()]}

    def _find_tensors(self, arrays: Mapping[str, np.ndarray]) -> None:
        """Find the weights of an identity, once: a search touches all of the memory."""
        wanted = {int(name) for name in arrays if name.isdigit()} - self.known.keys()
        for item in gc.get_objects() if wanted else ():
            if id(item) in wanted and isinstance(item, torch.Tensor):
                self.known[id(item)] = item

    def _find_module(self, wanted: int | None) -> None:
        """Find the module of an identity, once."""
        if wanted is not None and wanted not in self.modules:
            self.modules[wanted] = next(item for item in gc.get_objects() if id(item) == wanted)

    def _send(self, said: Mapping[str, Any]) -> None:
        self.connection.send_bytes(encode(said, {}))

    def _end(self, error: BaseException) -> NoReturn:
        """Answer that the program raised an error; what was seen before stands."""
        kind = "unusable" if isinstance(error, UnusablePort) else "error"
        text = str(error) if kind == "unusable" else described(error, str(self.path))
        self.watch.settle()
        if self.answer is None:
            self._send({"at": "error", kind: text})
            while True:
                self._wait()
        if kind == "unusable":
            self._answer({kind: text}, {})
        self._finish(text, error=True)

    def _finish(
        self,
        ended: str,
        returned: Mapping[str, np.ndarray] | None = None,
        *,
        error: bool = False,
        unseen: bool = False,
    ) -> NoReturn:
        """Answer with what was seen, and end this process."""
        said: dict[str, Any] = {"ended": ended, "error": error, "unseen": unseen, "steps": []}
        said["open"] = None
        arrays: dict[str, np.ndarray] = dict(returned or {})
        said |= self._calls_of(self.asked)
        if self.of_keras and not unseen:
            self._show_modules(said, arrays)
        names = names_of_weights(str(self.path), self.names) if self.named else {}
        for number, step in enumerate(() if self.of_keras else self.watch.steps):
            of_step, found = shown(step, names, self.brief)
            said["steps"].append(of_step)
            arrays |= {f"{number} {name}": array for name, array in found.items()}
        if self.last and self.watch.steps:
            latest = self.watch.steps[-1].after
            arrays |= {f"last {place}": w.numpy() for place, w in enumerate(latest)}
        said["strange"] = self.watch.strange and not self.watch.steps
        if (open_step := self.watch.open) is not None:
            said["open"] = shown(open_step, names, True)[0]
        self._answer(said, arrays)

    def _answer(self, said: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> NoReturn:
        assert self.answer is not None, "only a child is asked"
        self.answer.send_bytes(encode(said, arrays))
        os._exit(0)

    def _show_modules(self, said: dict[str, Any], arrays: dict[str, np.ndarray]) -> None:
        """Add the steps of the module that is trained, and what it returns after them."""
        steps = self.watch.steps
        said["trains"] = len(steps)
        known = map(trained, steps)
        module = self.module.module if self.module else next(filter(None, known), None)
        if module is None:
            return
        if self.module is None:
            modules.require_plain(module)
        of_steps, found = modules.shown_steps(steps, module, self.brief)
        said |= {**of_steps, "noise": self.drawn, "returned": self.watch.returned}
        arrays |= found
        if self.module and self.inputs:
            module.eval()
            with torch.no_grad(), self.watch:
                outputs = self.module.called(self.inputs)
            arrays |= {f"outputs {i}": to_numpy(output) for i, output in enumerate(outputs)}
