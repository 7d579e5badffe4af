"""What was found about a port: a verdict for each rung, and what was judged."""

from dataclasses import dataclass, field
from typing import Any

ASPECTS = {
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
"""What makes a training, and the rung on which each is judged."""


@dataclass
class Verdicts:
    """What was found about a port.

    Attributes:
        by_rung: "pass", "FAIL ..." or "not judged: ...", in the order of the ladder.
        findings: What explains the rungs that failed, in sentences.
        unseen: Aspects that cannot be seen on a rung that was judged.
        errors: What the port raised where it should have answered.
    """

    by_rung: dict[str, str] = field(default_factory=dict)
    findings: list[str] = field(default_factory=list)
    unseen: set[str] = field(default_factory=set)
    errors: list[str] = field(default_factory=list)

    def add(self, rung: str, verdict: str) -> None:
        """Keep a verdict, and print it."""
        self.by_rung[rung] = verdict
        print(f"{rung:15} {verdict}")

    @property
    def failed(self) -> list[str]:
        """The rungs that failed."""
        return [rung for rung, verdict in self.by_rung.items() if verdict.startswith("FAIL")]

    @property
    def judged(self) -> set[str]:
        """The aspects of the training that were judged."""
        return {
            aspect
            for aspect, rung in ASPECTS.items()
            if not self.by_rung[rung].startswith("not") and aspect not in self.unseen
        }

    @property
    def usable(self) -> bool:
        """Whether the port answered, and showed a loss, gradients or updates."""
        return not self.errors and not self.judged.isdisjoint({"loss", "gradients", "update"})

    def conclusion(self, port: str) -> str:
        """Return the sentence that sums up what was judged and what was not."""
        judged = [aspect for aspect in ASPECTS if aspect in self.judged]
        rest = [f"{a} ({self._why(a)})" for a in ASPECTS if a not in self.judged]
        if self.failed:
            return f"{port} is not the same training as the reference: see {', '.join(self.failed)}"
        if self.errors:
            return f"{port} could not be judged: {self.errors[0]}"
        if not rest:
            return f"{port} is the same training as the reference"
        if not self.usable:
            return f"{port} could not be judged: {'; '.join(rest)}"
        return (
            f"{port} agrees in what was judged: {', '.join(judged)}; not judged: {', '.join(rest)}"
        )

    def _why(self, aspect: str) -> str:
        verdict = self.by_rung[ASPECTS[aspect]]
        if aspect == "batches" and not verdict.startswith("not"):
            return "the loop takes them as they are given"
        return verdict.removeprefix("not judged: ") if verdict.startswith("not") else "not seen"

    def as_json(self) -> dict[str, Any]:
        """Return what was found, for JSON."""
        return {
            "verdict": "differs" if self.failed else "agrees" if self.usable else "not judged",
            "rungs": self.by_rung,
            "findings": self.findings,
            "judged": sorted(self.judged),
            "not judged": sorted(set(ASPECTS) - self.judged),
        }
