"""What was found about a port: a verdict for each rung, what explains it, and what was judged."""

import shutil
import sys
import textwrap
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

BOOK = {
    "data": "data",
    "initial weights": "initial weights",
    "outputs": "layer outputs",
    "loss": "gradients",
    "gradients": "gradients",
    "update": "one update",
    "loop": "loop",
    "batches": "loop",
    "prediction": "layer outputs",
}
"""What makes the book's training, and the rung on which each is judged."""


def print_wrapped(text: str, indent: int = 2) -> None:
    """Print text; on a terminal in lines that fit it, all but the first of a sentence indented."""
    for line in text.splitlines():
        if sys.stdout.isatty():
            width = shutil.get_terminal_size().columns
            wrapper = textwrap.TextWrapper(width, subsequent_indent=" " * indent)
            wrapper.break_long_words = wrapper.break_on_hyphens = False  # they may be paths
            line = wrapper.fill(line)
        print(line)


@dataclass(frozen=True)
class Finding:
    """What explains a rung that failed.

    Attributes:
        rung: Of the ladder.
        mistakes: That, made together in the reference, give the port's numbers; none if it stays
            unexplained. Their `str` is what is said of them.
        residual: Left over with these mistakes made.
        next_best: What the best other hypothesis leaves over where it first differs.
        place: The first tensor that diverged.
        relations: Simple ones between it and what it should be.
        alternatives: Other mistakes that explain it as well.
        raised: Whether the port raised an error, which `place` then names.
    """

    rung: str
    mistakes: tuple[Any, ...]
    residual: float
    next_best: float
    place: str
    relations: tuple[str, ...] = ()
    alternatives: tuple[Any, ...] = ()
    raised: bool = False

    def __str__(self) -> str:
        """Return one sentence."""
        if self.mistakes:
            names = " and ".join(map(str, self.mistakes))
            names += "".join(f" or {other}" for other in self.alternatives)
            return (
                f"{self.rung}: explained by: {names}; "
                f"residual {self.residual:.1g}, next best {self.next_best:.1g}"
            )
        if self.raised:
            return f"{self.rung}: {self.place}"
        found = "; ".join(self.relations) or "no simple relation to what it should be"
        return (
            f"{self.rung}: unexplained by any known mistake (the best leaves "
            f"{self.next_best:.1g}); first at {self.place}: {found}"
        )


@dataclass
class Verdicts:
    """What was found about a port.

    Attributes:
        aspects: What makes the training, and the rung on which each is judged.
        by_rung: "pass", "FAIL ..." or "not judged: ...", in the order of the ladder.
        findings: What explains the rungs that failed, in sentences.
        notes: What was chosen, and what differs as the frameworks do.
        unseen: Aspects that cannot be seen on a rung that was judged.
        parts: What a rung that was judged left out, in sentences.
        cannot_tell: Mistakes that would leave no trace.
        errors: What the port raised where it should have answered.
        shown: What only a page shows: "compared", "mapping" and "hypotheses", for JSON.
    """

    aspects: Mapping[str, str]
    by_rung: dict[str, str] = field(default_factory=dict)
    findings: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    unseen: set[str] = field(default_factory=set)
    parts: list[str] = field(default_factory=list)
    cannot_tell: list[str] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    shown: dict[str, list[Any]] = field(default_factory=lambda: {"compared": []})

    def add(self, rung: str, verdict: str) -> None:
        """Keep a verdict, and print it."""
        self.by_rung[rung] = verdict
        print_wrapped(f"{rung:15} {verdict}", indent=16)

    def say(self, note: str) -> None:
        """Keep a note, and print it."""
        self.notes.append(note)
        print_wrapped(note)

    @property
    def failed(self) -> list[str]:
        """The rungs that failed."""
        return [rung for rung, verdict in self.by_rung.items() if verdict.startswith("FAIL")]

    @property
    def judged(self) -> list[str]:
        """The aspects of the training that were judged."""
        return [
            aspect
            for aspect, rung in self.aspects.items()
            if not self.by_rung.get(rung, "not").startswith("not") and aspect not in self.unseen
        ]

    @property
    def not_judged(self) -> dict[str, str]:
        """The aspects that this training has and that were not judged, and why."""
        return {
            aspect: self._why(aspect)
            for aspect, rung in self.aspects.items()
            if rung in self.by_rung and aspect not in self.judged
        }

    def _why(self, aspect: str) -> str:
        verdict = self.by_rung[self.aspects[aspect]]
        if aspect == "batches" and not verdict.startswith("not"):
            return "the loop takes them as they are given"
        return verdict.removeprefix("not judged: ") if verdict.startswith("not") else "not seen"

    @property
    def usable(self) -> bool:
        """Whether the port answered, and showed a loss, gradients or updates."""
        return not self.errors and not {"loss", "gradients", "update"}.isdisjoint(self.judged)

    def conclusion(self, port: str) -> str:
        """Return the sentence that sums up what was judged and what was not."""
        rest = [f"{aspect} ({why})" for aspect, why in self.not_judged.items()] + self.parts
        if self.failed:
            return f"{port} is not the same training as the reference: see {', '.join(self.failed)}"
        if self.errors or not self.usable:
            return f"{port} could not be judged: {'; '.join(self.errors[:1] or rest)}"
        if not rest and not self.cannot_tell:
            return f"{port} is the same training as the reference"
        left = f"; not judged: {', '.join(rest)}" if rest else ""
        return f"{port} agrees in what was judged: {', '.join(self.judged)}{left}"

    def as_json(self) -> dict[str, Any]:
        """Return what was found, for JSON."""
        return {
            "verdict": "differs" if self.failed else "agrees" if self.usable else "not judged",
            "notes": self.notes,
            "rungs": self.by_rung,
            "findings": self.findings,
            "judged": self.judged,
            "not judged": self.not_judged,
            "parts not judged": self.parts,
            "cannot tell": self.cannot_tell,
            **self.shown,
        }
