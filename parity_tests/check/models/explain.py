"""Which mistakes, made in the Keras model itself, give the numbers of its port."""

import math
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from itertools import combinations
from typing import Any

from parity_tests.check.compared import FLOOR, Compared
from parity_tests.check.messages import PortError
from parity_tests.check.models.asking import STEPS
from parity_tests.check.models.ladder import RUNGS, ModelLadder
from parity_tests.check.models.mapping import EXTRA
from parity_tests.check.models.sides import WHOLE
from parity_tests.traps.finding import Finding
from parity_tests.traps.relations import relate

CLOSEST = 6
"""Mistakes that are tried in pairs."""
MOST = 12
"""Mistakes of one rung that are explained one by one."""
MANY = 6
"""Layers that are named one by one."""
BEFORE = 3
"""Units before the first difference whose layers, and those after them, are searched first."""
ROUNDING = 1e-12
"""Relative difference of numbers that are equal but for the rounding of float64."""
AMBIGUOUS = 1e-3
"""Relative difference from which on Keras's backends do not mean the same."""
RANK = {rung: index for index, rung in enumerate(RUNGS)}

OF_WHOLE = ("loss", "optimizer")
"""Beginnings of where a mistake is that belongs to no layer."""

SHOWS: dict[str, tuple[str, ...]] = {
    "outputs": ("outputs",),
    "loss": ("loss",),
    "gradients": ("loss", "gradients"),
    "statistics": ("statistics",),
    "update": ("loss", "gradients", "update"),
    "trajectory": ("loss", "gradients", "statistics", "update"),
}
"""By the rung that fails, those on which the mistakes that are tried first may show."""

Described = Mapping[str, Any]


def grouped(names: Sequence[str]) -> tuple[str, ...]:
    """Return names of mistakes, those of several layers that are alike as one.

    Of many layers, the first, the second and the last are named.
    """
    places: dict[str, list[str]] = {}
    for name in names:
        where, mistake = name.split(": ", 1)
        places.setdefault(mistake, []).append(where)
    for of in places.values():
        if len(of) > MANY:
            of[:] = [*of[:2], "...", f"{of[-1]} ({len(of)} layers)"]
    return tuple(f"{', '.join(of)}: {mistake}" for mistake, of in places.items())


@dataclass
class ModelSearch:
    """The search for the mistakes of a port, rung by rung.

    Attributes:
        ladder: Of the model and its port.
        edits: What can be made in the model, as its process describes it.
        judged: The rungs that could be judged, in their order.
        bounds: By rung, the largest of what the model itself leaves room for.
        found: What explains the divergences so far.
        until: When the search has to end, by the clock of `time.monotonic`.
        tried: By "name" of a mistake and its "rung", the "residual" that it left over.
    """

    ladder: ModelLadder
    edits: Sequence[Described]
    judged: list[str] = field(default_factory=list)
    bounds: dict[str, float] = field(default_factory=dict)
    until: float = math.inf
    found: list[Finding] = field(default_factory=list)
    tried: list[dict[str, Any]] = field(default_factory=list)

    def explain(self) -> list[Finding]:
        """Return what explains each divergence, up to the first that stays unexplained."""
        made, found = self.missing(), self.found
        for rung in self.judged:
            if self._first(rung, []) is None:  # other mistakes may make up for one that was made
                continue
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
                base, first, finding = self._with_own(rung, made, own, first)
                if not finding.mistakes:
                    found.append(finding)
                    return found
                made = base
                finding = self._furthest(rung, made, finding, first)
                finding = self._everywhere(rung, made, finding, first)
                found.append(finding)
                made += finding.mistakes
                with self._outside(rung, finding.mistakes, first):
                    outside = self.ladder.outside
                self.ladder.outside = outside
        return found

    def missing(self) -> list[str]:
        """Return the mistakes that need no search: the port has not the weights for other ones."""
        pairs = self.ladder.port.mapping.pairings
        names = set()
        for unit, role in ((pair.unit["name"], role) for pair in pairs for role in pair.missing):
            *part, weight = role.split()  # a part may have been renamed to tell it apart
            names |= {f"{place}: no {weight}" for place in (".".join([unit, *part]), *part)}
        return [edit["name"] for edit in self.edits if edit["name"] in names]

    def _with_own(
        self, rung: str, made: list[str], own: list[str], first: Compared
    ) -> tuple[list[str], Compared, Finding]:
        """Return what is made before, with PyTorch's own or not, what differs then, and why."""
        base = [*made, *own]
        second = self._first(rung, base) if own else None
        if second is not None:
            finding = self.find(rung, base, second)
            if finding.mistakes:
                return base, second, finding
        return made, first, self.find(rung, made, first)

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

    def _furthest(self, rung: str, made: list[str], found: Finding, first: Compared) -> Finding:
        """Return the one of several mistakes that the later rungs leave."""
        if not found.alternatives or len(found.mistakes) > 1:
            return found
        names = [*found.mistakes, *found.alternatives]
        reached = {name: self._reached(rung, [*made, name], first) for name in names}
        left = [name for name in names if reached[name] == max(reached.values())]
        return replace(found, mistakes=(left[0],), alternatives=tuple(left[1:]))

    def _reached(self, rung: str, made: list[str], first: Compared) -> int:
        """Return the place of the first rung that fails, from one on."""
        with self._outside(rung, made[-1:], first):
            try:
                rest = self.judged[self.judged.index(rung) :]
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
        near, places = self._near(first.where), self._places(first.where)
        reached = all(name.split(": ", 1)[0] in near for name in tried)
        self.ladder.window = (max(0, places[0] - BEFORE) if reached else 0, places[-1] + 1)
        try:
            yield
        finally:
            self.ladder.window = WHOLE

    def _everywhere(self, rung: str, made: list[str], found: Finding, first: Compared) -> Finding:
        """Make one mistake in all layers that it puts right."""
        if len(found.mistakes) > 1:
            return found
        mistake = found.mistakes[0].split(": ", 1)[1]
        of_layer = not found.mistakes[0].startswith(OF_WHOLE)
        alike = [e["name"] for e in self.edits if e["name"].split(": ", 1)[1] == mistake]
        alike = [n for n in alike if n not in made and n.startswith(OF_WHOLE) != of_layer]
        if len(alike) < 2 or self._first(rung, [*made, *found.mistakes]) is None:
            return found
        judged, before = self._wrong(rung, made)
        with self._outside(rung, alike, first):
            _, after = self._wrong(rung, [*made, *alike])

        def mends(name: str) -> bool:
            place = name.split(": ", 1)[0]
            return place in before - after if place in judged else after < before

        if rung == "layers":
            right = [name for name in alike if name in found.mistakes or mends(name)]
        else:
            right = alike if not after else []
        return replace(found, mistakes=tuple(right), alternatives=()) if right else found

    def _wrong(self, rung: str, made: list[str]) -> tuple[set[str], set[str]]:
        """Return the names of the units that are judged, and of those that differ."""
        judged, wrong = set(), set()
        for compared in self.ladder.compared(rung, made):
            name = compared.where.split("/")[-1]
            judged.add(name)
            if self._fails(rung, compared, bool(made)):
                wrong.add(name)
        return judged, wrong

    def find(self, rung: str, made: list[str], first: Compared) -> Finding:
        """Return what explains the first divergence of a rung, one mistake or two."""
        left: dict[tuple[str, ...], tuple[float, bool]] = {}
        for candidates in self._candidates(rung, made, first):
            for names in candidates:
                if time.monotonic() < self.until:
                    left[names] = self.residual(rung, made, names, first)
            if any(explains for _, explains in left.values()):
                break
        ended = time.monotonic() > self.until  # then others may explain as much as what was tried
        explaining = [names for names, (_, explains) in left.items() if explains and not ended]
        if not explaining and not ended:
            single = [names for names in left if len(names) == 1]
            closest = sorted(single, key=lambda names: left[names][0])[:CLOSEST]
            for one, other in combinations(closest, 2):
                left[one + other] = self.residual(rung, made, one + other, first)
                if left[one + other][1]:
                    explaining = [one + other]
                    break
        self.tried += [
            {"rung": rung, "name": " and ".join(grouped(names)), "residual": residual}
            for names, (residual, _) in left.items()
        ]
        best = min(explaining, key=lambda names: left[names][0], default=())
        # Of several within the bound, what leaves far more than the best is not as good. Nor is
        # what a constant that was rounded would leave, where the best leaves rounding only.
        least = left[best][0] if best else 0.0
        most = max(10 * least, FLOOR[self.ladder.dtype] if least > ROUNDING else ROUNDING)
        as_good = [names for names in explaining if left[names][0] <= most]
        alternatives = tuple(name for names in as_good if names != best for name in names)
        others = [r for names, (r, _) in left.items() if names not in explaining]
        next_best = min([first.difference, *others])
        if best:
            residual = left[best][0]
            return Finding(rung, best, residual, next_best, first.label, alternatives=alternatives)
        truth = first.truth.astype(first.port.dtype)
        alike = first.port.shape == truth.shape
        relations = tuple(relate(first.port, {first.label: truth})) if alike else ()
        return Finding(rung, (), math.nan, next_best, first.label, relations)

    def _candidates(
        self, rung: str, made: Sequence[str], first: Compared
    ) -> Iterator[list[tuple[str, ...]]]:
        """Yield the mistakes that may show first here, the likeliest first, each by its names."""
        edits = [edit for edit in self.edits if edit["name"] not in made]
        of_layers = [edit for edit in edits if RANK[edit["rung"]] < RANK["loss"]]
        name, near = first.where.split("/")[-1], self._near(first.where)

        def named(some: Iterable[Described]) -> list[tuple[str, ...]]:
            return [(edit["name"],) for edit in some]

        if rung == "layers":
            own = [edit for edit in of_layers if edit["where"] == name]
            yield named(edit for edit in own if edit["rung"] == "layers")
            yield named(edit for edit in own if edit["rung"] != "layers")
            yield named(e for e in of_layers if e["where"] in near - {name})
            return
        if rung == "between":
            yield named(edit for edit in of_layers if edit["where"] in near)
            for reach in (BEFORE, 2 * BEFORE):  # of branches that come together, the fewest
                close = self._near(first.where, reach) - {name}
                yield self._alike([edit for edit in of_layers if edit["where"] in close])
            yield named(edit for edit in of_layers if edit["where"] not in near)
            return
        if extra := tuple(edit["name"] for edit in edits if edit["rung"] == EXTRA):
            yield [extra]
        edits = [edit for edit in edits if edit["rung"] in SHOWS[rung]]
        of_whole = [e for e in edits if e["where"].startswith(OF_WHOLE)]
        yield named([*(e for e in edits if e["where"] == name and e not in of_whole), *of_whole])
        yield self._alike(of_layers)  # too small to be seen in one layer, and larger in the whole
        if rung in ("outputs", "trajectory"):
            yield named(e for e in edits if e["where"] != name and e not in of_whole)

    def _alike(self, edits: Sequence[Described]) -> list[tuple[str, ...]]:
        """Return mistakes that several layers can have, in all of them at once."""
        by_mistake: dict[str, list[str]] = {}
        for edit in edits:
            by_mistake.setdefault(edit["name"].split(": ", 1)[1], []).append(edit["name"])
        return [tuple(names) for names in by_mistake.values() if len(names) > 1]

    def _near(self, path: str, reach: int = BEFORE) -> set[str]:
        """Return the names of the layers that are called shortly before a unit, or at the end."""
        places, order = self._places(path), self.ladder.truth.order()
        return {name for name, count in order for p in places if p - reach < count <= p}

    def _places(self, path: str) -> list[int]:
        """Return which calls of units are those of one; of none, the place after the last."""
        units = [call["unit"] for call in self.ladder.truth.trace(False)[0]]
        return [i for i, unit in enumerate(units) if unit == path] or [len(units)]

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


def cannot_tell(ladder: ModelLadder, edits: Iterable[Described]) -> tuple[str, ...]:
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
