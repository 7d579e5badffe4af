"""The verdict on each rung of the port of a Keras model, and what explains those that fail."""

import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import takewhile
from typing import Any

import numpy as np

from parity_tests.check.compared import Compared
from parity_tests.check.messages import PortError, ProcessEnded
from parity_tests.check.models.data import OTHER_TARGETS
from parity_tests.check.models.draws import Draws
from parity_tests.check.models.explain import ModelSearch, cannot_tell, grouped
from parity_tests.check.models.ladder import RUNGS, ModelLadder
from parity_tests.check.repairs.search import RepairSearch
from parity_tests.check.repairs.text import keep
from parity_tests.check.results import (
    FAIL,
    NOT_JUDGED,
    PASS,
    Mistake,
    Observation,
    Verdicts,
    print_wrapped,
)
from parity_tests.traps.finding import Finding

VAGUE = 0.1
"""Bound from which on agreement proves nothing."""
FAR = 1000
"""How much more a difference within is than a bound that cannot hide what it leads to."""
PENALTY = "loss: the penalty on the weights is missing"
"""The name of a mistake."""
NEAR = 1e-3
"""Relative difference of learning rates that are another schedule."""
SEARCH, REPAIRED, LEAST = 1200, 60, 20
"""Seconds for the search for mistakes; with that for repairs, where the model is small or the port
was mended; and at least, then."""
SMALL = 1_000_000
"""Parameters of a small model."""
CLOSE = 0.5
"""Share of a difference that is left of it where a change is worth to be told."""
WITHIN = ("layers", "between")
OF_WHOLE = ("outputs", "loss", "gradients", "update", "trajectory")


@dataclass
class Judging:
    """The judgement of a port that was settled.

    Attributes:
        verdicts: Takes what is found.
        ladder: Of the model and its port.
        edits: The mistakes that can be made in the model, as its process describes them.
        parameters: How many the model has.
        measure: Has the yardsticks answer, where a difference has to be weighed.
    """

    verdicts: Verdicts
    ladder: ModelLadder
    edits: Sequence[dict[str, Any]]
    parameters: int
    measure: Callable[[], None]

    def judge(self) -> None:
        """Judge each rung, and explain those that fail."""
        self.search = ModelSearch(self.ladder, self.edits)
        made: list[str] = []
        for rung in RUNGS if self._judge_noise() else ():
            made += self._judge(rung, made)
        self._judge_loop()
        self._forgive_targets()
        self.search.judged = [rung for rung in self.verdicts.judged if rung in RUNGS]
        if self._decays():
            for rung in self.verdicts.failed:
                said = "but that the update has the penalty on the weights, and the loss has not"
                self.verdicts.add(rung, PASS, said)
            self.ladder.unseen.add("the losses after the first step, which lack the penalty")
        if not {"noise", *RUNGS}.isdisjoint(self.verdicts.failed):
            self._explain()
        for finding in (*self.verdicts.findings, *self.verdicts.repairs):
            print_wrapped(f"-> {finding}", indent=3)
        if self.verdicts.diff:
            print(self.verdicts.diff, end="")
        self.verdicts.parts = sorted(self.ladder.unseen)
        for part in self.verdicts.parts:
            print_wrapped(f"not judged: {part}")
        if not self.verdicts.failed:
            until = time.monotonic() + SEARCH
            tried = takewhile(lambda edit: time.monotonic() < until, self.edits)
            self.verdicts.cannot_tell = list(cannot_tell(self.ladder, tried))
        for name in self.verdicts.cannot_tell:
            print_wrapped(f"with this batch the check cannot tell: {name}")

    def _forgive_targets(self) -> None:
        """Take other targets for right where the losses agree, as smoothed ones for a smoothing."""
        if not all(self.verdicts.status(rung) == PASS for rung in ("loss", "gradients")):
            return
        for finding in list(self.verdicts.findings):
            mistake = finding.mistake if isinstance(finding, Observation) else None
            if not isinstance(mistake, Mistake) or mistake.name != OTHER_TARGETS:
                continue
            if self.verdicts.by_rung["data"].text == mistake.sentence:
                self.verdicts.findings.remove(finding)
                self.verdicts.add("data", PASS, "but for its targets, whose loss is the model's")

    def _explain(self) -> None:
        """Find what mends a port, and which mistakes of the model give its numbers."""
        start = time.monotonic()
        repairs = self._repaired()
        left = max(LEAST, REPAIRED - (time.monotonic() - start))
        large = self.parameters >= SMALL and not repairs.mended
        found = self._mistakes(self.search, SEARCH if large else left)
        if place := self._otherwise(found):
            for rung in self.verdicts.failed:
                said = f"{place} is another, and all that follows agrees"
                self.verdicts.add(rung, NOT_JUDGED, f"{said}")
            return
        if "loop" in self.verdicts.failed:  # which shows after some steps, and is named
            found = [f for f in found if f.mistakes or f.rung != "trajectory"]
        named = all(finding.mistakes for finding in found)
        if not named and repairs.mended:
            found = [finding for finding in found if finding.mistakes]
        elif not named and repairs.found:  # what is left may have a name
            rest = ModelSearch(repairs.current, self.edits, self.search.judged)
            found = self._mistakes(rest, LEAST)
        self.verdicts.findings += self._explained(found, repairs)
        keep(self.verdicts, self.ladder.port.asked.process.path, repairs.found)

    def _repaired(self) -> RepairSearch:
        """Search for changes of the port that give the model's numbers."""
        rungs = [rung for rung in ("noise", *RUNGS) if self.verdicts.status(rung) != NOT_JUDGED]
        own = {rung: self.search.of_framework(rung, []) for rung in rungs}
        repairs = RepairSearch(self.ladder, rungs, own)
        with suppress(PortError, ProcessEnded), np.errstate(all="ignore"):
            repairs.search()
        return repairs

    def _mistakes(self, search: ModelSearch, seconds: float) -> list[Finding]:
        """Search for mistakes that, made in the model, give the port's numbers."""
        search.until = time.monotonic() + seconds
        with suppress(PortError):  # as where no more mistakes are recorded
            search.explain()
        if time.monotonic() > search.until:
            self.ladder.unseen.add(f"mistakes that {seconds:.0f} s left no time to try")
        self.verdicts.shown.setdefault("hypotheses", []).extend(search.tried)
        return search.found

    def _decays(self) -> bool:
        """Return whether the port has the model's penalty in its update, as a weight decay.

        Then its loss and its gradients lack it, and all weights agree.
        """
        failed = self.verdicts.failed
        if PENALTY not in {edit["name"] for edit in self.edits} or "loss" not in failed:
            return False
        if not {*failed} <= {"loss", "gradients", "trajectory"}:
            return False
        weights = self.ladder.compared("trajectory", [])
        later = all(not c.fails or c.label.startswith("losses") for c in weights)
        without = (c for r in ("loss", "gradients") for c in self.ladder.compared(r, [], [PENALTY]))
        return later and not any(compared.fails for compared in without)

    def _otherwise(self, found: Sequence[Finding]) -> str:
        """Return what a port computes in another way, as a last layer before pooling; "" of none.

        It differs within, by far more than the rungs of the whole leave room for, no mistake makes
        the model do so, and all of those rungs agree.
        """
        compared = self.verdicts.shown["compared"]
        within = [c for c in compared if c["rung"] in WITHIN and not c["difference"] <= c["bound"]]
        room = max((c["bound"] for c in compared if c["rung"] not in WITHIN), default=math.inf)
        if (
            set(self.verdicts.failed) <= set(WITHIN)
            and all(self.verdicts.status(rung) == PASS for rung in OF_WHOLE)
            and not any(finding.mistakes for finding in found)
            and not self.search.missing()
            and min(c["difference"] for c in within) > FAR * room
        ):
            return str(within[0]["label"])
        return ""

    def _explained(self, found: Sequence[Finding], repairs: RepairSearch) -> Iterator[str]:
        if missing := self.search.missing():
            said = " and ".join(grouped(missing))
            yield f"mapping: {said}, since the port has no such weight"
        for finding in found:
            mistakes, others = grouped(finding.mistakes), grouped(finding.alternatives)
            where = finding.mistakes[0].split(": ")[0] if finding.mistakes else ""
            place = repairs.place(where) if where else repairs.where(finding.rung)
            text = str(replace(finding, mistakes=mistakes, alternatives=others))
            if not where and repairs.closest and repairs.closest[1] < CLOSE:
                text += f"; with {repairs.closest[0]}, {repairs.closest[1]:.1%} of it is left"
            yield f"{text}; in {place}" if place else text

    def _judge_noise(self) -> bool:
        """Judge what is switched off in all that follows; return whether nothing else is drawn."""
        draws = Draws(self.ladder.port, self.ladder.truth)
        if draws.draws_others():
            said = "the port draws random numbers otherwise than by dropout: no more can be judged"
            if any(
                of.startswith("Gaussian") for of in self.ladder.truth.noise(True)
            ):  # as torch has none
                self.verdicts.add("noise", NOT_JUDGED, f"{said}")
            else:
                self._fail_noise(said)
            return False
        if wrong := draws.differences():
            self._fail_noise(*wrong)
        elif self.ladder.truth.noise(True):
            judged, left = draws.judged()
            self.ladder.unseen.update(left)
            self.verdicts.add("noise", PASS, f"by {judged}; it is switched off in what follows")
        return True

    def _fail_noise(self, *said: str) -> None:
        self.verdicts.add("noise", FAIL, f"{'; '.join(said)}")
        self.verdicts.findings += [f"noise: {text}" for text in said]

    def _judge(self, rung: str, made: list[str]) -> list[str]:
        """Judge a rung; return the mistake that is the framework's own, if that explains it."""
        add = self.verdicts.add
        try:
            every, own = self._compared(rung, made)
        except PortError as error:
            add(rung, NOT_JUDGED, f"{error}")
            return []
        if not every:
            if rung != "statistics":
                add(rung, NOT_JUDGED, "nothing to compare")
            return []
        if rung in ("gradients", "update") and not any(c.truth.any() for c in every):
            add(rung, NOT_JUDGED, "all are 0 in the model, which proves nothing")
            return []
        self._say_ambiguous(every)
        self.verdicts.shown["compared"] += [{"rung": rung, **c.as_json()} for c in every]
        wrong = [compared for compared in every if compared.fails]
        vague = [c.bound for c in every if c.bound > VAGUE]
        if not wrong and len(vague) == len(every):
            add(rung, NOT_JUDGED, f"a port may be off by {min(vague):.0e} here")
            return []
        if vague:
            where = f"{len(vague)} tensors of {rung}, where a port may be off"
            self.ladder.unseen.add(f"{where} by up to {max(vague):.0e}")
        if wrong:
            first = wrong[0]
            others = f" ({len(wrong)} of {len(every)} tensors differ)" if len(wrong) > 1 else ""
            add(rung, FAIL, f"{first.label}{others}\n  {first.message}")
        elif own:
            add(rung, PASS, f"but that {' and '.join(grouped(own))}")
        else:
            worst = max(every, key=lambda c: c.difference / c.bound if c.bound else np.inf)
            shown = f"worst {worst.difference:.0e} of {worst.bound:.0e}"
            add(rung, PASS, f"({len(every)} tensors, {shown})")
        return own

    def _compared(self, rung: str, made: list[str]) -> tuple[list[Compared], list[str]]:
        """Return what is compared on a rung, and the framework's own mistake if that explains it.

        Only if something differs by more than the floor, the yardsticks are asked.
        """
        every: list[Compared] = []
        for weighed in (False, True):
            if weighed:
                self.measure()
            every = list(self.ladder.compared(rung, made))
            if not any(compared.fails for compared in every):
                break
            if own := self.search.of_framework(rung, made):
                with_own = list(self.ladder.compared(rung, [*made, *own]))
                if not any(compared.fails for compared in with_own):
                    return with_own, own
        return every, []

    def _judge_loop(self) -> None:
        """Judge what many steps of a training of its own do, beside their numbers."""
        port, truth = self.ladder.port, self.ladder.truth
        if not port.asked.batches:
            return
        try:
            steps = port.asked.later()
        except PortError as error:
            self.verdicts.add("loop", NOT_JUDGED, str(error))
            return
        right = truth.process.ask("rates", steps=len(steps))[0]["rates"]
        wrong = [*self._modes(steps), *_rates(steps, right)]
        for mistake in wrong:
            self.verdicts.findings.append(Observation("loop", mistake))
        if wrong:
            self.verdicts.add("loop", FAIL, "; ".join(mistake.sentence for mistake in wrong))
        else:
            self.verdicts.add("loop", PASS, f"(mode and learning rate of {len(steps)} steps)")

    def _modes(self, steps: Sequence[dict[str, Any]]) -> Iterator[Mistake]:
        """Yield the mistake that steps are made in inference, where that is another computation."""
        first = next((i for i, step in enumerate(steps) if not step["training"]), None)
        truth = self.ladder.truth
        one, other = (truth.trace(training)[1]["outputs 0"] for training in (False, True))
        differs = truth.noise(True) or not np.array_equal(one, other)
        if first is not None and differs:
            sentence = f"from step {first + 1} on the model is not in training"
            yield Mistake("no training mode", sentence, steps[first]["line"])

    def _say_ambiguous(self, every: list[Compared]) -> None:
        unsure = [compared for compared in every if compared.own > 1e-4]
        backends = {yard.process.backend for yard in self.ladder.yards}
        if self.ladder.dtype == "float64" and unsure and "torch" in backends:
            worst = max(unsure, key=lambda compared: compared.own)
            others = f", as do {len(unsure) - 1} others by less" if len(unsure) > 1 else ""
            self.verdicts.say(
                f"Keras itself is ambiguous here: {worst.label} differs by {worst.own:.0e} between "
                f"its backends tensorflow and torch{others}"
            )


def _rates(steps: Sequence[dict[str, Any]], right: Sequence[float]) -> Iterator[Mistake]:
    """Yield the mistake that the learning rate changes otherwise than the model's."""
    rates = [step["rates"][0] for step in steps if step["rates"]]
    for number, (own, of_model) in enumerate(zip(rates, right, strict=False)):
        if abs(own / rates[0] - of_model / right[0]) > NEAR * of_model / right[0]:
            sentence = (
                f"in step {number + 1} the learning rate is {own / rates[0]:.4g} times the first, "
                f"and {of_model / right[0]:.4g} times in the model"
            )
            yield Mistake("another schedule", sentence, steps[number]["line"])
            return
