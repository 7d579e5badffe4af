"""What explains a rung that failed."""

from dataclasses import dataclass
from typing import Any


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
