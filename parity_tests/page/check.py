"""The page of the check of a port, and the same in Markdown for a pull request.

What a port says is anybody's text: the templates escape it, and Markdown gets it as code.
"""

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

from parity_tests.page.render import bar, rendered

Found = Mapping[str, Any]
LISTS = ("compared", "mapping", "hypotheses", "repairs")


def check_page(found: Found) -> str:
    """Return the page of a check, as HTML.

    Args:
        found: What `check --json` writes: "port", "verdict", "conclusion", "notes", "rungs" by
            name, each with status and text, and "findings"; perhaps "cannot tell", "not judged"
            (names, or names and reasons) and "parts not judged". And, where they are known:
            "compared", with label, rung, difference and bound of each tensor in the order of
            execution; "mapping", with model, port and transform of each weight;
            "hypotheses", with name and residual of each; "repairs", with place and change of each;
            "diff", the port beside the mended one; "command".
    """
    return rendered(
        "check.html",
        dict(found),
        found={**{name: [] for name in LISTS}, "diff": "", "command": "", **found},
        mending=mending,
        rungs=[rung_state(*item) for item in found["rungs"].items()],
        failure=first_failure(found),
        bars=bars(found.get("compared", ())),
        hypotheses=ranked(found.get("hypotheses", ())),
        unseen=unseen(found),
    )


def rung_state(name: str, verdict: Found) -> dict[str, str]:
    """Return a rung with what the picture shows of it."""
    first, *rest = verdict["text"].split("\n", 1)
    kind = {"FAIL": "failed", "pass": "within"}.get(verdict["status"], "absent")
    said = f"{verdict['status']}{':' if kind == 'absent' else ''} {first}".rstrip()
    return {"name": name, "state": kind, "verdict": said, "message": "".join(rest)}


def first_failure(found: Found) -> dict[str, str] | None:
    """Return the first rung that failed, and what it says; None if all held."""
    for name, verdict in found["rungs"].items():
        if verdict["status"] == "FAIL":
            return {"rung": name, "message": verdict["text"]}
    return None


def number(value: Any) -> float:
    """Return a number, also where JSON could hold only its text; infinity where there is none."""
    return math.inf if value is None or math.isnan(float(value)) else float(value)


def unseen(found: Found) -> list[str]:
    """Return what a check could not see, and why where that is known."""
    aspects = found.get("not judged", ())
    if isinstance(aspects, Mapping):
        aspects = [f"{aspect}: {why}" for aspect, why in aspects.items()]
    return [*found.get("cannot tell", ()), *aspects, *found.get("parts not judged", ())]


def ranked(hypotheses: Sequence[Found]) -> list[dict[str, Any]]:
    """Return what was tried, what leaves the least first."""
    found = [{**one, "residual": number(one["residual"])} for one in hypotheses]
    return sorted(found, key=lambda one: one["residual"])


def bars(compared: Sequence[Found]) -> list[dict[str, Any]]:
    """Return a bar for each tensor: its difference over its bound, on a logarithmic scale."""
    shares = []
    for one in compared:
        difference, bound = number(one["difference"]), number(one["bound"])
        shares.append(difference / bound if bound else math.inf if difference else 0.0)
    most = max([1.0, *(math.log10(share) for share in shares if 0 < share < math.inf)])
    first = next((index for index, share in enumerate(shares) if share > 1), None)
    return [
        {
            **one,
            "share": share,
            "words": in_words(share),
            "percent": bar(share, most),
            "bound_at": bar(1.0, most),
            "beyond": share > 1,
            "first": index == first,
        }
        for index, (one, share) in enumerate(zip(compared, shares, strict=True))
    ]


def in_words(share: float) -> str:
    """Return a share of a bound in words."""
    if math.isinf(share):
        return "beyond any bound"
    return f"{share:.1e} x bound" if share else "equal"


def check_markdown(found: Found) -> str:
    """Return the result of a check as a block for a pull request."""
    failure = first_failure(found)
    verdict = {"agrees": "agrees", "differs": "**differs**"}.get(found["verdict"], "not judged")
    lines = [f"### Parity: {code(found['port'])} {verdict}", "", code(found["conclusion"])]
    if failure:
        lines += ["", f"First divergence on the rung {code(failure['rung'])}:", ""]
        lines += fenced(failure["message"])
    lines += [f"- {code(finding)}" for finding in found["findings"]]
    lines += [f"- {code(mending(repair))}" for repair in found.get("repairs", ())]
    if diff := found.get("diff"):
        lines += ["", *fenced(diff.rstrip())]
    lines += ["", "| rung | verdict |", "|---|---|"]
    for rung in (rung_state(*item) for item in found["rungs"].items()):
        lines.append(f"| {cell(rung['name'])} | {cell(rung['verdict'])} |")
    if left := unseen(found):
        lines += ["", "Not seen: " + ", ".join(map(code, left))]
    if command := found.get("command"):
        lines += ["", "Repeat it by", "", *fenced(command)]
    return "\n".join(lines) + "\n"


def mending(repair: Found) -> str:
    """Return a repair in one line."""
    place = f"{repair['file']}:{repair['line']}: " if repair["file"] else ""
    return f"{place}{repair['call']}: {repair['change']}"


def code(text: str) -> str:
    """Return a text as Markdown shows it letter by letter, in one line."""
    line = " ".join(text.split())
    ticks = "`" * (1 + max(map(len, re.findall("`+", line)), default=0))
    space = " " if ticks != "`" or not line else ""
    return f"{ticks}{space}{line}{space}{ticks}"


def cell(text: str) -> str:
    """Return a text as Markdown shows it letter by letter, in a table."""
    return code(text).replace("|", r"\|")


def fenced(text: str) -> list[str]:
    """Return the lines of a block that no line of the text can end."""
    ticks = "`" * max(3, 1 + max(map(len, re.findall("`+", text)), default=0))
    return [f"{ticks}text", text, ticks, ""]
