"""The search for a change of a port of the book's network after which all rungs agree."""

import math
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from parity_tests.check.book.asking import Asked
from parity_tests.check.book.rungs import RUNGS, Seen
from parity_tests.check.messages import PortError, ProcessEnded
from parity_tests.check.repairs.candidates import of_model
from parity_tests.check.repairs.repair import Call, Mended, Repair, Wanted, once
from parity_tests.check.repairs.step import of_loss, of_step, of_update
from parity_tests.ladder.compare import Divergence, Judge
from parity_tests.ladder.oracle import Oracle

SECONDS = 10
"""For the search."""
JUDGED = ("layer outputs", "gradients", "one update", "trajectory")
"""Rungs that a run is judged on."""
BOOK = Wanted(
    [{"class": "Dense", "activation": "relu"}, {"class": "Dense", "activation": "softmax"}],
    {"learning_rate": 1e-3, "momentum": 0.0, "weight_decay": 0.0},
)
"""What the book's network and its optimizer are configured with."""


@dataclass
class BookRepairs:
    """The search for the repair of a port of the book's network.

    Attributes:
        asked: The program.
        seen: What was seen of it, without changes.
        given: By the case: weights, images, labels and steps that the program was asked with.
        options: With which it is asked.
        found: What mends it.
    """

    asked: Asked
    seen: Seen
    given: dict[str, tuple[Any, Any, Any, int]]
    options: dict[str, Any]
    found: list[Mended] = field(default_factory=list)

    def search(self, rungs: list[str]) -> None:
        """Find the change after which all rungs agree that can be judged by runs."""
        failing = [rung for rung in JUDGED if rung in rungs]
        if not failing:
            return
        until = time.monotonic() + SECONDS
        probe = "five steps" if failing[0] == "trajectory" else next(iter(self.given))
        for repairs in self._candidates(failing[0]):
            for repair in repairs:
                if time.monotonic() > until:
                    return
                if self._agrees(repair, probe, failing[:1]) and self._mends(repair):
                    self.found.append(Mended(repair, failing[0], "", 0.0, whole=True))
                    return

    def _candidates(self, rung: str) -> Iterator[list[Repair]]:
        """Yield what could make a rung fail, where all before it agree."""
        options = {**self.options, "noted": True, "changes": [], "drive": self.asked.driven()}
        said, _ = self.asked.ask(*self.given["five steps"], **options)
        calls: list[Call] = once(said.get("noted", ()))
        for call in calls:
            call["shared"] = False
        if rung == "layer outputs":
            yield from of_model(calls, BOOK)
        elif rung == "gradients":
            yield from of_loss(calls, BOOK, math.inf)
        else:
            yield [*of_update(calls, said.get("optimizers", ()), BOOK)]
        yield [*of_step(calls, BOOK)]

    def _mends(self, repair: Repair) -> bool:
        return all(self._agrees(repair, case, JUDGED) for case in self.given)

    def _agrees(self, repair: Repair, case: str, rungs: Any) -> bool:
        """Return whether a run with a change made agrees."""
        options = {**self.options, "changes": list(repair.changes)}
        try:
            run = self.asked.run(*self.given[case], **options)
            seen = Seen({case: run}, yardstick=self.seen.yardstick)
            with np.errstate(all="ignore"):
                for rung in rungs:
                    RUNGS[rung](Judge(), seen, Oracle)
        except (Divergence, PortError, ProcessEnded, ArithmeticError, LookupError, ValueError):
            return False
        return bool(run)
