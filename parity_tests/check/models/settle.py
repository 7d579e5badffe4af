"""Finding the batch, the form of the inputs and the mapping that give the model's numbers."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations, groupby, permutations, product
from typing import Any

import numpy as np

from parity_tests.check.compared import folded_like
from parity_tests.check.messages import PortError, UnusablePort, numbered
from parity_tests.check.models.asking import AskedModule
from parity_tests.check.models.forms import AXES, FORMS, OUTPUTS, axes_of_class, forms_of
from parity_tests.check.models.ladder import ModelLadder
from parity_tests.check.models.mapping import ModelMapping, by_hand, mappings
from parity_tests.check.models.moves import Arrays, Pairing
from parity_tests.check.models.recipes import pairing
from parity_tests.check.models.sides import Answers, KerasSide, PortSide

NEAR = 1e-3
"""Relative difference up to which numbers count as the model's, whatever the rounding."""
MOST_ORDERS = 24
"""Orders of several inputs that are tried, those of the model first."""
MOST_OUTPUTS = 5
"""Outputs whose order is looked for."""
SWAPS = 40
"""Exchanges of alike modules that are tried."""
BRANCHES = (1, 2)
"""Modules in a row that are exchanged, as a convolution with its normalization."""
LINEAR = ("Dense", "EinsumDense")
RECURRENT = ("LSTM", "GRU", "SimpleRNN", "Bidirectional")
BY_INPUTS = ", alike layers by their inputs"

Described = Mapping[str, Any]


@dataclass
class Settling:
    """What is known of a port and its model before the port is used.

    Attributes:
        truth: The model in float64.
        asked: The port.
        dtype: Of the port.
        described: What the model is made of.
        weights: The model's first weights, by path.
        batches: Inputs and targets of each step, by name, as the model takes them.
        form: In which the port takes inputs, where it is known.
    """

    truth: KerasSide
    asked: AskedModule
    dtype: str
    described: Described
    weights: Arrays
    batches: Sequence[Arrays]
    form: str | None = None

    def settle(self) -> PortSide:
        """Return the first way to use the port that gives the model's numbers, or the nearest."""
        said = self.asked.said
        shapes = [array.shape[1:] for array in numbered(self.batches[0], "inputs")]
        forms = forms_of(shapes, said["layout"] or self.described["layout"])
        forms = [self.form] if self.form else forms[:-1]
        given = said["mapping"] or self.described["mapping"]
        modules = {module["path"] for module in said["units"]}
        given = given if modules & {*(given or ())} else None  # one of that name means another
        right = numbered(self.truth.trace(False)[1], "outputs")
        ways: list[PortSide] = []
        whole: list[PortSide] = []
        problems: list[PortError] = []
        for side in self._mapped(said, forms, given, problems):
            found = numbered(side.trace(False)[1], "outputs")
            side, found = self._placed(side, found, right)
            for form in _forms_of_outputs(side.form[0], found, right):
                formed = replace(side, form=(side.form[0], form))
                known = [_output(formed, *pair) for pair in zip(found, right, strict=False)]
                for output in OUTPUTS if found else ():
                    outputs = tuple(of or output for of in known)
                    ways.append(replace(formed, outputs=outputs))  # which keeps the same answers
                    if None not in known and len(found) == len(right):
                        whole.append(replace(ways[-1], kept=Answers()))
                        break
            # Of heads that are alike, those whose outputs are in the model's order.
            if whole and whole[-1].places in ((), tuple(range(len(right)))):
                return whole[-1]
        if whole:
            return whole[0]
        if not ways:
            raise [
                *problems,
                UnusablePort(f"{self.asked.process.path}: its model returns nothing"),
            ][0]
        best = max(ways, key=self._agreement)
        return replace(best if given else self._exchanged(best), kept=Answers())

    def _placed(
        self, side: PortSide, found: list[np.ndarray], right: list[np.ndarray]
    ) -> tuple[PortSide, list[np.ndarray]]:
        """Return a port with its outputs in the order that gives most of the model's, and them."""
        count = len(right)
        if len(found) != count or not 1 < count <= MOST_OUTPUTS:
            return side, found
        known = {
            (i, p): _output(side, found[p], right[i]) is not None
            for i, p in product(range(count), range(count))
        }
        places = max(
            permutations(range(count)), key=lambda of: sum(known[pair] for pair in enumerate(of))
        )
        return replace(side, places=places), [found[p] for p in places]

    def groups(self) -> list[list[str]]:
        """Return the units that the port may hold in one layer; none if each has a partner.

        Linear layers are held in one if they are called one after the other with the same input,
        such as query, key and value, and have its shape together; recurrent ones if they are called
        in a row, as many as it has.
        """
        said = self.asked.said
        units = {unit["path"]: unit for unit in self.described["units"]}
        try:
            mappings(list(units.values()), said["units"])
        except UnusablePort:
            pass
        else:
            return []
        linear = [of["weights"] for of in said["units"] if of["class"] == "Linear"]
        shapes = [weights["weight"][0] for weights in linear if "weight" in weights]
        levels = {of["config"].get("num_layers", 1) for of in said["units"]} - {1}
        found: list[list[str]] = []
        for kind, paths in self._runs(units):
            size = next((n for n in levels if len(paths) % n == 0), 1)
            if kind == "linear":
                kernels = [units[path]["weights"]["kernel"][1] for path in paths]
                together = [sum(int(np.prod(shape[1:])) for shape in kernels), kernels[0][0]]
                size = len(paths) if together in shapes else 1
            for start in range(0, len(paths), size) if size > 1 else ():
                group = paths[start : start + size]
                if {*group}.isdisjoint(path for of in found for path in of):  # as if called again
                    found.append(group)
        return found

    def _runs(self, units: Mapping[str, Described]) -> Iterator[tuple[str, list[str]]]:
        """Yield the units that are called one after the other: linear, of one input; recurrent."""
        calls, arrays = self.truth.trace(False)

        def kind(index: int) -> tuple[str, bytes]:
            name = units[calls[index]["unit"]]["class"]
            if name in LINEAR:
                return "linear", arrays[f"call {index} input 0"].tobytes()
            return "recurrent" if name in RECURRENT else name, b""

        for (name, _), run in groupby(range(len(calls)), kind):
            if name in ("linear", "recurrent"):
                yield name, [calls[index]["unit"] for index in run]

    def _mapped(
        self, said: Described, forms: list[str], given: Any, problems: list[PortError]
    ) -> Iterator[PortSide]:
        """Yield the port in each form that it takes, with each mapping."""
        called = [call["unit"] for call in self.truth.trace(False)[0]]
        units = _in_order(self.described["units"], called)
        for form, order in product(forms, self._orders(said["takes"])):
            mapping = ModelMapping((), "")
            both = form, "as it is"
            side = PortSide(self.asked, mapping, both, order, self.batches, self.weights)
            try:
                traced, _ = side.trace(False)
            except PortError as error:
                problems.append(error)
                continue
            ordered = _in_order(said["units"], [call["unit"] for call in traced["calls"]])
            used = {call["unit"] for call in traced["calls"]}
            if len(ordered) > len(units) <= len(used):  # a module that is never called may be left
                ordered = [module for module in ordered if module["path"] in used]
            for mapping in [by_hand(units, ordered, given)] if given else mappings(units, ordered):
                known = replace(side, mapping=mapping, kept=Answers())
                yield replace(known, axes=self._axes(known))

    def _axes(self, side: PortSide) -> dict[str, str]:
        """Return where modules have their axes whose class does not say so.

        The shape of what each is given says so; else, the numbers in it.
        """
        (calls, of_model), (traced, arrays) = self.truth.trace(False), side.trace(False)
        of_units, called = ([call["unit"] for call in of] for of in (calls, traced["calls"]))
        found: dict[str, str] = {}
        for pair in side.mapping.pairings:
            path, unit = pair.module["path"], pair.unit["path"]
            if axes_of_class(pair.module) or path not in called or unit not in of_units:
                continue
            given = arrays.get(f"call {called.index(path)} input 0")
            right = of_model[f"call {of_units.index(unit)} input 0"]
            if given is None or right.ndim < (2 if pair.unit["class"] == "Embedding" else 3):
                continue
            moved = {axes: there(right) for axes, (there, _) in AXES.items()}
            fits = {axes: np.vdot(given, a) for axes, a in moved.items() if a.shape == given.shape}
            if fits:
                found[path] = max(fits, key=lambda axes: fits[axes])
        return found

    def _orders(self, takes: list[str]) -> list[tuple[int, ...]]:
        """Return the orders in which a port may take the inputs: by its names, else any."""
        names, count = self.described["inputs"], len(numbered(self.batches[0], "inputs"))
        if len(names) == count and set(names) <= set(takes):
            wanted = sorted(names, key=takes.index)
            return [tuple(names.index(name) for name in wanted)]
        return list(permutations(range(count)))[:MOST_ORDERS]

    def _agreement(self, side: PortSide) -> int:
        """Return how much of a port agrees, given what its layers should return."""
        ladder = ModelLadder(self.truth, (), side, self.dtype, frozenset(), modes=(False,))
        try:
            return sum(c.difference < NEAR for c in ladder.compared("between", []))
        except PortError:
            return -1

    def _exchanged(self, side: PortSide) -> PortSide:
        """Return the port with alike modules exchanged where more of it agrees then."""
        best, tried = self._agreement(side), 0
        better = True
        while better:
            better = False
            for (one, other), length in product(self._alike(side), BRANCHES):
                pairs = self._swapped(side.mapping.pairings, one, other, length)
                if pairs is None or tried == SWAPS:
                    continue
                how = side.mapping.how.removesuffix(BY_INPUTS) + BY_INPUTS
                mapping = ModelMapping(tuple(pairs), how)
                changed = replace(side, mapping=mapping, kept=Answers())
                agreement, tried = self._agreement(changed), tried + 1
                if agreement > best:
                    side, best, better = changed, agreement, True
                    break
        return side

    def _swapped(
        self, pairings: Sequence[Pairing], one: int, other: int, length: int
    ) -> list[Pairing] | None:
        """Return pairs of which two have each other's modules, and so those that they lead to.

        Args:
            pairings: As they are.
            one: The place of a pair.
            other: That of another.
            length: How many pairs in a row are exchanged.
        """
        found = list(pairings)
        for step in range(length):
            if step:
                one, other = (self._following(found, place) for place in (one, other))
            if -1 in (one, other) or one == other:
                return None
            first = pairing(found[one].unit, found[other].module)
            second = pairing(found[other].unit, found[one].module)
            if first is None or second is None:
                return None
            found[one], found[other] = first, second
        return found

    def _following(self, pairings: Sequence[Pairing], place: int) -> int:
        """Return the place of the unit that is given what another returns; -1 if there is none."""
        calls, arrays = self.truth.trace(False)
        units = [call["unit"] for call in calls]
        returned = arrays[f"call {units.index(pairings[place].unit['path'])} returned"]
        for index, unit in enumerate(units):
            if np.array_equal(arrays[f"call {index} input 0"], returned):
                return [pair.unit["path"] for pair in pairings].index(unit)
        return -1

    def _alike(self, side: PortSide) -> Iterator[tuple[int, int]]:
        """Yield the places of two pairs that may be the wrong way round."""
        ladder = ModelLadder(self.truth, (), side, self.dtype, frozenset())
        inputs = {pair.unit["path"]: found for pair, found in ladder.inputs()}
        held = [inputs.get(pair.unit["path"]) for pair in side.mapping.pairings]
        for one, other in combinations(range(len(held)), 2):
            if (mine := held[one]) is None or (theirs := held[other]) is None:
                continue
            wrong = not near(*mine) or not near(*theirs)
            crossed = near(mine[0], theirs[1]) or near(theirs[0], mine[1])
            if (wrong and crossed) or near(mine[1], theirs[1]):
                yield one, other


def _in_order(described: list[Any], called: list[str]) -> list[Any]:
    """Return what is described in the order of the first calls; what is never called last."""
    first = {path: index for index, path in reversed(list(enumerate(called)))}
    return sorted(described, key=lambda item: first.get(item["path"], len(called)))


def _forms_of_outputs(
    form: str, found: Sequence[np.ndarray], right: Sequence[np.ndarray]
) -> list[str]:
    """Return the forms that give outputs the model's shapes, that of the inputs first."""
    form = form if form in list(FORMS)[:4] else "as it is"
    fits: dict[Any, str] = {}
    for name in (form, *list(FORMS)[:4]):
        shapes = [FORMS[name][1](array).shape for array in found]
        if shapes == [array.shape for array in right]:
            fits.setdefault(tuple(array.strides for array in map(FORMS[name][1], found)), name)
    return list(fits.values()) or [form]


def _output(side: PortSide, found: np.ndarray, right: np.ndarray) -> str | None:
    """Return what one output of a port is, given that of the model; None if it is another."""
    for output in OUTPUTS:
        known = replace(side, outputs=(output,))
        returned, expected = known.returned(0, found), known.expected(0, right)
        if near(returned, folded_like(expected, returned)):
            return output
    return None


def near(array: np.ndarray, right: np.ndarray) -> bool:
    """Return whether an array has the numbers of another."""
    if array.shape != right.shape:
        return False
    return bool(np.abs(array - right).max(initial=0) <= NEAR * np.abs(right).max(initial=0))
