"""Which mistakes, made in the Keras model itself, give the numbers of its port."""

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from itertools import combinations
from typing import Any

from parity_tests.models.compared import Compared
from parity_tests.models.ladder import RUNGS, ModelLadder
from parity_tests.models.sides import STEPS, WHOLE
from parity_tests.ports.messages import PortError
from parity_tests.ports.relations import relate

CLOSEST = 6
"""Mistakes that are tried in pairs."""
MOST = 12
"""Mistakes of one rung that are explained one by one."""
NEAR = 3
"""Units before the first difference whose layers, and those after them, are searched first."""
AMBIGUOUS = 1e-3
"""Relative difference from which on Keras's backends do not mean the same."""
RANK = {rung: index for index, rung in enumerate(RUNGS)}

Described = Mapping[str, Any]


@dataclass(frozen=True)
class Explanation:
    """What was found on a rung that failed.

    Attributes:
        rung: Of the ladder.
        edits: Names of mistakes that, made together, give the port's numbers; none if unexplained.
        residual: Left over with these mistakes made.
        next_best: What the best other mistake leaves over.
        first: The first tensor that differs.
        alternatives: Other mistakes that give these numbers as well.
        relations: Simple ones between the tensor and what it should be.
    """

    rung: str
    edits: tuple[str, ...]
    residual: float
    next_best: float
    first: Compared
    alternatives: tuple[str, ...] = ()
    relations: tuple[str, ...] = ()

    def __str__(self) -> str:
        """Return one sentence."""
        if self.edits:
            names = " and ".join(grouped(self.edits))
            names += "".join(f" or {name}" for name in grouped(self.alternatives))
            return (
                f"{self.rung}: explained by: {names}; residual {self.residual:.1g}, "
                f"next best {self.next_best:.1g}"
            )
        found = "; ".join(self.relations) or "no simple relation to what it should be"
        return (
            f"{self.rung}: unexplained by any known mistake (the best leaves "
            f"{self.next_best:.1g}); first at {self.first.label}: {found}"
        )


def grouped(names: Sequence[str]) -> list[str]:
    """Return names of mistakes, those of several layers that are alike as one."""
    places: dict[str, list[str]] = {}
    for name in names:
        where, mistake = name.split(": ", 1)
        places.setdefault(mistake, []).append(where)
    return [f"{', '.join(where)}: {mistake}" for mistake, where in places.items()]


@dataclass
class ModelSearch:
    """The search for the mistakes of a port, rung by rung.

    Attributes:
        ladder: Of the model and its port.
        edits: What can be made in the model, as its process describes it.
        bounds: By rung, the largest of what the model itself leaves room for.
        tried: By "name" of a mistake and its "rung", the "residual" that it left over.
    """

    ladder: ModelLadder
    edits: Sequence[Described]
    bounds: dict[str, float] = field(default_factory=dict)
    tried: list[dict[str, Any]] = field(default_factory=list)

    def explain(self) -> list[Explanation]:
        """Return an explanation for each divergence, up to the first that has none."""
        made: list[str] = []
        found: list[Explanation] = []
        for rung in RUNGS:
            every = [c for c in self.ladder.compared(rung, []) if c.own < AMBIGUOUS]
            self.bounds[rung] = max((c.bound for c in every), default=0.0)
            before = len(found)
            while (first := self._first(rung, made)) is not None:
                if len(found) - before == MOST:
                    return found
                own = self.of_framework(rung, made)
                if own and self._first(rung, [*made, *own]) is None:
                    made += own
                    break
                base, explanation = self._with_own(rung, made, own, first)
                if not explanation.edits:
                    return [*found, explanation]
                made = base
                explanation = self._furthest(rung, made, explanation)
                explanation = self._everywhere(rung, made, explanation)
                found.append(explanation)
                made += explanation.edits
                with self._outside(rung, explanation.edits, explanation.first):
                    outside = self.ladder.outside
                self.ladder.outside = outside
        return found

    def _with_own(
        self, rung: str, made: list[str], own: list[str], first: Compared
    ) -> tuple[list[str], Explanation]:
        """Return what explains a rung, and what is made before: with PyTorch's own, or not."""
        base = [*made, *own]
        second = self._first(rung, base) if own else None
        if second is not None:
            explanation = self.find(rung, base, second)
            if explanation.edits:
                return base, explanation
        return made, self.find(rung, made, first)

    def of_framework(self, rung: str, made: Sequence[str]) -> list[str]:
        """Return the mistakes that PyTorch's own layers make on a rung."""
        names = [
            edit["name"] for edit in self.edits if edit["of framework"] and edit["rung"] == rung
        ]
        return [name for name in names if name not in made]

    def _first(self, rung: str, made: Sequence[str]) -> Compared | None:
        compared = self.ladder.compared(rung, made)
        return next((c for c in compared if self._fails(rung, c, bool(made))), None)

    def _fails(self, rung: str, compared: Compared, mistaken: bool) -> bool:
        """Return whether a tensor differs; of a mistaken model, the yardstick is of the rung."""
        bound = max(compared.bound, self.bounds.get(rung, 0.0) if mistaken else 0.0)
        return not compared.difference <= bound

    def _furthest(self, rung: str, made: list[str], found: Explanation) -> Explanation:
        """Return the one of several explanations that the later rungs leave."""
        if not found.alternatives or len(found.edits) > 1:
            return found
        names = [*found.edits, *found.alternatives]
        reached = {name: self._reached(rung, [*made, name], found.first) for name in names}
        left = [name for name in names if reached[name] == max(reached.values())]
        return replace(found, edits=(left[0],), alternatives=tuple(left[1:]))

    def _reached(self, rung: str, made: list[str], first: Compared) -> int:
        """Return the place of the first rung that fails, from one on."""
        with self._outside(rung, made[-1:], first):
            try:
                rest = list(RUNGS)[RANK[rung] :]
                return next((RANK[r] for r in rest if self._first(r, made)), len(RUNGS))
            except PortError:
                return -1

    @contextmanager
    def _outside(self, rung: str, names: Sequence[str], first: Compared) -> Iterator[None]:
        """Take mistakes to be made outside of a module, where its own output is right."""
        before = self.ladder.outside
        if rung == "between" and "as it is called" not in first.label:
            self.ladder.outside = before | set(names)
        try:
            yield
        finally:
            self.ladder.outside = before

    @contextmanager
    def _narrowed(self, tried: Sequence[str], first: Compared) -> Iterator[None]:
        """Judge those calls of units only that mistakes can reach, up to the first that differs."""
        near = self._near(first.where)
        units = [call["unit"] for call in self.ladder.truth.trace(False)[0]]
        place = units.index(first.where) if first.where in units else len(units)
        reached = all(name.split(": ", 1)[0] in near for name in tried)
        self.ladder.window = (max(0, place - NEAR) if reached else 0, place + 1)
        try:
            yield
        finally:
            self.ladder.window = WHOLE

    def _everywhere(self, rung: str, made: list[str], found: Explanation) -> Explanation:
        """Make one mistake in all layers that can have it, if that explains all of them."""
        if len(found.edits) > 1:
            return found
        mistake = found.edits[0].split(": ", 1)[1]
        alike = [e["name"] for e in self.edits if e["name"].split(": ", 1)[1] == mistake]
        alike = [name for name in alike if name not in made]
        if len(alike) < 2 or self._first(rung, [*made, *found.edits]) is None:
            return found
        with self._outside(rung, alike, found.first):
            every = list(self.ladder.compared(rung, [*made, *alike]))
        places = {name.split(": ", 1)[0] for name in alike}
        wrong = {c.where.split("/")[-1] for c in every if self._fails(rung, c, True)}
        right = not (wrong & places if rung == "layers" else wrong)
        return replace(found, edits=tuple(alike), alternatives=()) if right else found

    def find(self, rung: str, made: list[str], first: Compared) -> Explanation:
        """Return what explains the first divergence of a rung, one mistake or two."""
        left: dict[tuple[str, ...], tuple[float, bool]] = {}
        for names in self._candidates(rung, made, first):
            for name in names:
                left[(name,)] = self.residual(rung, made, [name], first)
            if any(explains for _, explains in left.values()):
                break
        explaining = [names for names, (_, explains) in left.items() if explains]
        if not explaining:
            closest = sorted(left, key=lambda names: left[names][0])[:CLOSEST]
            for (one,), (other,) in combinations(closest, 2):
                left[one, other] = self.residual(rung, made, [one, other], first)
                if left[one, other][1]:
                    explaining = [(one, other)]
                    break
        self.tried += [
            {"rung": rung, "name": " and ".join(grouped(names)), "residual": residual}
            for names, (residual, _) in left.items()
        ]
        best = min(explaining, key=lambda names: left[names][0], default=())
        alternatives = tuple(name for names in explaining if names != best for name in names)
        others = [r for names, (r, _) in left.items() if names not in explaining]
        next_best = min([first.difference, *others])
        if best:
            return Explanation(rung, best, left[best][0], next_best, first, alternatives)
        truth = first.truth.astype(first.port.dtype)
        related = (
            relate(first.port, {first.label: truth}) if first.port.shape == truth.shape else ()
        )
        return Explanation(rung, (), math.nan, next_best, first, relations=tuple(related))

    def _candidates(self, rung: str, made: Sequence[str], first: Compared) -> Iterator[list[str]]:
        """Yield the mistakes that may show first here: those of near layers, then others."""
        edits = [edit for edit in self.edits if edit["name"] not in made]
        name = first.where.split("/")[-1]
        if rung == "layers":
            edits = [edit for edit in edits if RANK[edit["rung"]] < 3]
            yield [edit["name"] for edit in edits if edit["where"] == name]
            near = self._near(first.where) - {name}
            yield [edit["name"] for edit in edits if edit["where"] in near]
            return
        if rung == "between":
            edits = [edit for edit in edits if RANK[edit["rung"]] < 3]
            near = self._near(first.where)
            yield [edit["name"] for edit in edits if edit["where"] in near]
            yield [edit["name"] for edit in edits if edit["where"] not in near]
            return
        if rung in ("gradients", "update", "trajectory"):
            ranks = range(RANK["loss"], RANK["trajectory"])
        else:
            ranks = range(RANK["outputs"], RANK[rung] + 1)
        edits = [edit for edit in edits if RANK[edit["rung"]] in ranks]
        of_whole = [e["name"] for e in edits if e["where"].startswith(("loss", "optimizer"))]
        of_layer = [e["name"] for e in edits if e["where"] == name and e["name"] not in of_whole]
        yield [*of_layer, *of_whole]
        if rung in ("outputs", "trajectory"):
            yield [e["name"] for e in edits if e["name"] not in {*of_layer, *of_whole}]

    def _near(self, path: str) -> set[str]:
        """Return the names of the layers that are called shortly before a unit, or at the end."""
        calls, order = self.ladder.truth.trace(False)[0], self.ladder.truth.order()
        units = [call["unit"] for call in calls]
        place = units.index(path) if path in units else len(units)
        return {name for name, count in order if place - NEAR < count <= place}

    def residual(
        self, rung: str, made: Sequence[str], tried: Sequence[str], first: Compared
    ) -> tuple[float, bool]:
        """Return what is left over up to a tensor, and whether that is no more than rounding."""
        largest = 0.0
        with self._outside(rung, tried, first), self._narrowed(tried, first):
            try:
                for compared in self.ladder.compared(rung, made, tried):
                    largest = max(largest, compared.difference)
                    if self._fails(rung, compared, True):
                        return largest, False
                    if compared.label == first.label:  # what leaves as much explains nothing
                        return largest, largest <= first.difference / 10
            except PortError:  # the mistake cannot be made in this model
                return math.inf, False
        return math.inf, False


def unseen(ladder: ModelLadder, edits: Sequence[Described]) -> list[str]:
    """Return the mistakes that leave no trace in this model with this batch."""
    found = []
    for edit in edits:
        try:
            said, _ = ladder.truth.process.ask("shows", edit=edit["name"], steps=STEPS)
        except PortError:  # it cannot be made here
            continue
        if not said["shows"]:
            found.append(edit["name"])
    return grouped(found)
