"""The search for changes of a port that give the model's numbers."""

import math
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from parity_tests.check.compared import Compared
from parity_tests.check.messages import PortError, ProcessEnded
from parity_tests.check.models.asking import STEPS
from parity_tests.check.models.draws import Draws
from parity_tests.check.models.ladder import ModelLadder
from parity_tests.check.repairs.candidates import of_model
from parity_tests.check.repairs.repair import Call, Mended, Repair, Wanted, key_of, once
from parity_tests.check.repairs.step import of_loss, of_penalties, of_step, of_update

SECONDS = 60
"""For the search."""
FORWARD = ("layers", "between", "outputs")
MOST, SEVERAL = 6, 6
"""Repairs of one port, and how many are weighed against each other."""
WHOLE = 1e-9
"""Relative difference up to which a number is an integer."""
NEARER = 3
"""By how much less must be left of a difference, where one change does not mend all of it."""


@dataclass
class RepairSearch:
    """The search for the repairs of a port, rung by rung.

    Attributes:
        ladder: Of the model and its port.
        rungs: That could be judged, in their order.
        own: By rung, the mistakes that PyTorch's own layers make, which are none of the port.
        found: Repairs, in their order.
        mended: Whether all rungs agree with them.
        inside: The calls that compute the model, in their order.
        outside: The other calls of a step.
        optimizers: Of the port.
        root: Where the port calls its model.
        closest: Where the search ended without a repair, the change that left the least.
        until: When the search has to end, by the clock of `time.monotonic`.
    """

    ladder: ModelLadder
    rungs: Sequence[str]
    own: Mapping[str, Sequence[str]]
    made: list[str] = field(default_factory=list)
    found: list[Mended] = field(default_factory=list)
    mended: bool = False
    inside: list[Call] = field(default_factory=list)
    outside: list[Call] = field(default_factory=list)
    optimizers: list[Call] = field(default_factory=list)
    root: list[Any] | None = None
    closest: tuple[Repair, float] | None = None
    until: float = math.inf

    def search(self) -> None:
        """Find changes until all rungs agree, or none is found."""
        self.until = time.monotonic() + SECONDS
        self.current = self.ladder
        self._look()
        for rung in self.rungs:
            while self._fails(rung):
                enough = time.monotonic() > self.until or len(self.found) == MOST
                if enough or not self._mend(rung):
                    self._leave(rung)
                    return
            if self.own.get(rung) and self._first_of(self.current, rung, self.made) is not None:
                self.made += self.own[rung]
        self.mended = bool(self.found)

    def _leave(self, rung: str) -> None:
        """Keep what mends a difference as a whole; of one layer, also where others differ."""
        kept = (m for m in self.found if m.whole and (m.rung != rung or rung in FORWARD))
        self.found = list(kept)
        self.current = self._changed()

    def _look(self) -> None:
        """Ask the port what it calls, and the model what it is configured with."""
        self.inside, every, self.optimizers = map(once, self.ladder.port.calls())
        known = {key_of(call) for call in self.inside}
        made = Counter(repr(call.get("made")) for call in self.inside)
        called = Counter(repr(call["at"]) for call in self.inside)
        for call in self.inside:  # as of blocks that one text makes
            call["shared"] = max(made[repr(call.get("made"))], called[repr(call["at"])]) > 1
        self.root = next((c["at"] for c in every if c.get("path") == "" and c["at"]), None)
        self.outside = [c for c in every if key_of(c) not in known and c.get("path") != ""]
        said, _ = self.ladder.truth.process.ask("configs")
        self.order = self.ladder.truth.order()
        self.configs: Mapping[str, Any] = said["layers"]
        self.wanted = Wanted(list(self.configs.values()), said["optimizer"])
        self.losses = Wanted(said["losses"], said["optimizer"])

    def _changed(self, *repairs: Repair, steps: int = STEPS) -> ModelLadder:
        """Return the ladder of the port with what was found and further repairs made."""
        kept = [mended.repair for mended in self.found]
        changes = tuple(change for repair in (*kept, *repairs) for change in repair.changes)
        return replace(self.ladder, port=self.ladder.port.changed(changes, steps), unseen=set())

    def _bases(self, rung: str) -> Iterator[list[str]]:
        """Yield the mistakes that are made in the model: none, or those that PyTorch makes."""
        yield self.made
        if own := self.own.get(rung):
            yield [*self.made, *own]

    def _first(self, ladder: ModelLadder, rung: str) -> Compared | None:
        """Return the first difference of a rung; None if it agrees."""
        if rung == "noise":
            return None
        found = [self._first_of(ladder, rung, made) for made in self._bases(rung)]
        return None if None in found else found[0]

    def _first_of(self, ladder: ModelLadder, rung: str, made: list[str]) -> Compared | None:
        return next((c for c in ladder.compared(rung, made) if c.fails), None)

    def _fails(self, rung: str) -> bool:
        if rung == "noise":
            return bool(Draws(self.current.port, self.ladder.truth).differences())
        return self._first(self.current, rung) is not None

    def _mend(self, rung: str) -> bool:
        """Find the repair of the first difference of a rung, and keep it."""
        first = self._first(self.current, rung)
        left: list[tuple[Repair, float]] = []
        mending: list[tuple[Repair, float]] = []
        for repairs in self._candidates(rung, first):
            for repair in repairs:
                if time.monotonic() > self.until or len(mending) == SEVERAL:
                    break
                rest, explains = self._residual(rung, repair, first)
                if explains and self._breaks_nothing(rung, repair):
                    mending.append((repair, rest))
                elif math.isfinite(rest) and not explains:
                    left.append((repair, rest))
            if mending:
                break
        whole = bool(mending)
        if not mending:
            closest = min(left, key=lambda one: one[1], default=None)
            if closest is None or first is None:
                return False
            self.closest = closest[0], closest[1] / first.difference
            if closest[1] > first.difference / NEARER:
                return False
            mending = [closest]
        alone = len(mending) == 1
        reached = [(0, 0.0) if alone else self._reached(rung, repair) for repair, _ in mending]
        best = max(reached)
        equal = [one for one, place in zip(mending, reached, strict=True) if place == best]
        (repair, rest), *others = equal
        alternatives = tuple(other for other, _ in others)
        self.found.append(
            Mended(repair, rung, self._beside(first, repair), rest, whole, alternatives)
        )
        self.current = self._changed()
        return True

    def _breaks_nothing(self, rung: str, repair: Repair) -> bool:
        """Return whether all rungs before one agree as well; and with a loss, its gradients."""
        others = [*self.rungs[: self.rungs.index(rung)]]
        later = ["gradients", *(["trajectory"] if _is_solved(repair) else [])]
        others += [of for of in later if of in self.rungs] if rung == "loss" else []
        ladder = self._changed(repair, steps=STEPS if "trajectory" in others else 1)
        try:
            return all(self._first(ladder, other) is None for other in others)
        except (PortError, ProcessEnded):
            return False

    def _candidates(self, rung: str, first: Compared | None) -> Iterator[list[Repair]]:
        """Yield what may mend a rung, what is near its first difference before the rest."""
        if rung == "noise":
            yield from of_model([c for c in self.inside if "Dropout" in c["what"]], self.wanted)
            return
        assert first is not None, "a rung of numbers has failed"
        inside, outside = self.inside, self.outside
        if rung in FORWARD:
            near, wanted = self._near(inside, first)
            yield from of_model(near, wanted)
            known = {id(call) for call in near}
            if rung == "outputs":
                yield from of_model([c for c in inside if id(c) not in known], self.wanted)
            return
        port, truth = (float(np.abs(a).max(initial=0)) for a in (first.port, first.truth))
        if rung in ("loss", "gradients", "trajectory"):
            ratio = truth / port if port else math.inf
            yield from of_loss(outside, self.losses, ratio)
            yield [*of_penalties(outside, self.wanted, self._kernels(), self.root)]
        if rung != "loss":
            yield [*of_step([*inside, *outside], self.wanted)]
        if rung in ("gradients", "update", "trajectory"):
            yield [*of_update(outside, self.optimizers, self.wanted)]
        if rung in ("statistics", "trajectory", "gradients"):
            for call in inside:
                if "Norm" in call["what"] or rung == "gradients":
                    yield from of_model([call], self.wanted)

    def _beside(self, first: Compared | None, repair: Repair) -> str:
        """Return the layer of the model that has what a repair brings, or where it shows."""
        by = repair.changes[-1]["by"]
        brought = [by.get("value"), *by.get("options", {}).values()]
        for layer, config in self.configs.items():
            for key, value in config.items():
                if type(value) is float and value in brought:
                    return f"{key}={value:g} in {layer}, {config['class']}"
        name = first.where.split("/")[-1] if first is not None else ""
        return f"shows at {name}, {self.configs[name]['class']}" if name in self.configs else ""

    def place(self, where: str) -> str:
        """Return where the port has what belongs to a layer, "loss" or "optimizer"; or ""."""
        pairs = self.ladder.port.mapping.pairings
        paths = {pair.unit["name"]: pair.module["path"] for pair in pairs}
        found: Sequence[Call] = self.optimizers
        if where == "loss":
            found = [call for call in self.outside if call["returns"] == [[]]]
        elif where != "optimizer":
            found = [call for call in self.inside if call.get("path") == paths.get(where, -1)]
        places = [call.get("made") or call["at"] for call in found]
        return next((f"{place[0]}:{place[1]}" for place in places if place), "")

    def where(self, rung: str) -> str:
        """Return where the port computes what differs first on a rung; "" if it is not known."""
        first = self._first(self.current, rung) if rung in FORWARD else None
        name = first.where.split("/")[-1] if first is not None else ""
        return self.place(name) if name else ""

    def _kernels(self) -> dict[str, str]:
        """Return the name of the port's kernel of each layer."""
        rows = self.ladder.port.mapping.rows()
        kernels = [row for row in rows if row["model"].endswith("kernel")]
        return {row["model"].split("/")[-2]: row["port"] for row in kernels}

    def _near(self, calls: Sequence[Call], first: Compared) -> tuple[list[Call], Wanted]:
        """Return the calls between the layer before a difference and that where it shows."""
        paths = {
            pair.unit["path"]: pair.module["path"] for pair in self.ladder.port.mapping.pairings
        }
        order = list(paths)  # of the model: what comes before agrees
        before = order[: order.index(first.where)] if first.where in order else order
        units = {paths[name] for name in before}
        path = paths.get(first.where)
        ends = [i for i, call in enumerate(calls) if path is not None and call.get("path") == path]
        end = ends[0] if ends else len(calls) - 1
        starts = [i for i, call in enumerate(calls[:end]) if call.get("path") in units]
        start = starts[-1] if starts else 0
        name = first.where.split("/")[-1]
        places = [i for i, (layer, _) in enumerate(self.order) if layer == name] or [
            len(self.order)
        ]
        near = {layer for p in places for layer, _ in self.order[max(0, p - 8) : p + 1]}
        configs = [config for layer, config in self.configs.items() if layer in near]
        return list(calls[start : end + 1]), Wanted(configs, self.wanted.optimizer)

    def _residual(self, rung: str, repair: Repair, first: Compared | None) -> tuple[float, bool]:
        """Return what is left of the first difference of a rung, and whether it agrees."""
        ladder = self._changed(repair, steps=STEPS if rung == "trajectory" else 1)
        if first is None:
            with suppress(PortError):
                return 0.0, not Draws(ladder.port, self.ladder.truth).differences()
            return math.inf, False
        if rung in FORWARD:
            ladder.modes = ("in training" in first.label,)
        found = [self._left(ladder, rung, made, first) for made in self._bases(rung)]
        return min(found, key=lambda one: (not one[1], one[0]))

    def _left(
        self, ladder: ModelLadder, rung: str, made: list[str], first: Compared
    ) -> tuple[float, bool]:
        """Return what differs in one tensor, and whether it agrees; infinity if one before does."""
        try:
            for compared in ladder.compared(rung, made):
                if compared.label == first.label:
                    rest = compared.difference
                    return rest, not compared.fails and rest <= first.difference / 10
                if compared.fails:
                    break
        except (PortError, ProcessEnded):  # it cannot be called so
            pass
        return math.inf, False

    def _reached(self, rung: str, repair: Repair) -> tuple[int, float]:
        """Return how many rungs agree from one on, and how much of the next one does."""
        ladder = self._changed(repair)
        agree = 0
        for later in self.rungs[self.rungs.index(rung) :]:
            if later == "noise":
                agree += 1
                continue
            try:
                every = [list(ladder.compared(later, made)) for made in self._bases(later)]
            except (PortError, ProcessEnded):
                return agree, 0.0
            failing = [sum(of.fails for of in found) / len(found) for found in every if found]
            if (least := min(failing, default=0.0)) > 0:
                return agree, -least
            agree += 1
        return agree, 0.0


def _is_solved(repair: Repair) -> bool:
    """Return whether a loss is multiplied by a number that nobody wrote: neither n nor 1 / n."""
    factor = repair.changes[0]["by"].get("options", {}).get("other", 1.0)
    return min(abs(n - round(n)) for n in (factor, 1 / factor)) > WHOLE * factor
