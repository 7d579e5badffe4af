"""What was found about a port: a verdict for each rung, what explains it, and what was judged."""

import shutil
import sys
import textwrap
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

PASS, FAIL, NOT_JUDGED = "pass", "FAIL", "not judged"

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
class Verdict:
    """What was found on a rung.

    Attributes:
        status: One of `PASS`, `FAIL` and `NOT_JUDGED`.
        text: What differs, why it could not be judged, or what is to be added.
    """

    status: str
    text: str = ""

    def __str__(self) -> str:
        """Return the verdict as it is printed."""
        colon = ":" if self.status == NOT_JUDGED else ""
        return f"{self.status}{colon} {self.text}".rstrip()


@dataclass(frozen=True)
class Mistake:
    """A mistake that was seen in the program.

    Attributes:
        name: Short.
        sentence: What the program does, and what was expected.
        line: Of the program; 0 if it is not known.
    """

    name: str
    sentence: str
    line: int = 0

    def __str__(self) -> str:
        """Return the name and the sentence."""
        place = f" (line {self.line})" if self.line else ""
        return f"{self.name} ({self.sentence}){place}"


@dataclass(frozen=True)
class Observation:
    """A mistake that was seen, on the rung that it makes fail.

    Attributes:
        rung: Of the ladder.
        mistake: That was seen; a sentence where it has no name.
        then: What follows from it for the rest of the check.
    """

    rung: str
    mistake: Mistake | str
    then: str = ""

    def __str__(self) -> str:
        """Return one sentence."""
        known = isinstance(self.mistake, Mistake)
        text = f"explained by: {self.mistake}" if known else self.mistake
        return f"{self.rung}: {text}" + (f"; {self.then}" if self.then else "")


@dataclass
class Verdicts:
    """What was found about a port.

    Attributes:
        aspects: What makes the training, and the rung on which each is judged.
        by_rung: A verdict for each rung, in the order of the ladder.
        findings: What explains the rungs that failed; `str` gives a sentence.
        notes: What was chosen, and what differs as the frameworks do.
        unseen: Aspects that cannot be seen on a rung that was judged.
        parts: What a rung that was judged left out, in sentences.
        cannot_tell: Mistakes that would leave no trace.
        errors: What the port raised where it should have answered.
        shown: What only a page shows: "compared", "mapping" and "hypotheses", for JSON.
        repairs: Changes of the port that give the model's numbers; `str` gives a sentence, and
            `as_json` what a program reads.
        mended: The text of the port with all repairs; "" if there is none.
        diff: What differs between the port and that.
    """

    aspects: Mapping[str, str]
    by_rung: dict[str, Verdict] = field(default_factory=dict)
    findings: list[Any] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    unseen: set[str] = field(default_factory=set)
    parts: list[str] = field(default_factory=list)
    cannot_tell: list[str] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    shown: dict[str, list[Any]] = field(default_factory=lambda: {"compared": []})
    repairs: list[Any] = field(default_factory=list)
    mended: str = ""
    diff: str = ""

    def add(self, rung: str, status: str, text: str = "") -> None:
        """Keep a verdict, and print it."""
        self.by_rung[rung] = Verdict(status, text)
        print_wrapped(f"{rung:15} {self.by_rung[rung]}", indent=16)

    def find(self, finding: Any) -> None:
        """Keep what explains a rung, and print it."""
        self.findings.append(finding)
        print_wrapped(f"-> {finding}", indent=3)

    def status(self, rung: str) -> str:
        """Return the status of a rung; that of one that is not judged if it has none."""
        return self.by_rung.get(rung, Verdict(NOT_JUDGED)).status

    def say(self, note: str) -> None:
        """Keep a note, and print it."""
        self.notes.append(note)
        print_wrapped(note)

    @property
    def failed(self) -> list[str]:
        """The rungs that failed."""
        return [rung for rung, verdict in self.by_rung.items() if verdict.status == FAIL]

    @property
    def judged(self) -> list[str]:
        """The aspects of the training that were judged."""
        return [
            aspect
            for aspect, rung in self.aspects.items()
            if self.status(rung) != NOT_JUDGED and aspect not in self.unseen
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
        if verdict.status == NOT_JUDGED:
            return verdict.text
        return "the loop takes them as they are given" if aspect == "batches" else "not seen"

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
            "rungs": {
                rung: {"status": verdict.status, "text": verdict.text}
                for rung, verdict in self.by_rung.items()
            },
            "findings": [str(finding) for finding in self.findings],
            "repairs": [repair.as_json() for repair in self.repairs],
            "diff": self.diff,
            "judged": self.judged,
            "not judged": self.not_judged,
            "parts not judged": self.parts,
            "cannot tell": self.cannot_tell,
            **self.shown,
        }
