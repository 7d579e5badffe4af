"""The page of a run of the proof."""

import json
import math
from collections.abc import Collection, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from parity_tests.ladder.compare import Record
from parity_tests.ladder.report import Row, rows
from parity_tests.ladder.rungs import RUNGS
from parity_tests.page.charts import STEPS_OF_EPOCH, difference_chart, loss_chart
from parity_tests.page.pictures import picture
from parity_tests.page.render import bar, rendered
from parity_tests.page.twins import twins

ROOT = Path(__file__).parents[2]
TRAPS = ROOT / "parity_tests" / "traps" / "sensitivity.json"
RESULTS = ROOT / "parity_tests" / "measurements" / "results"

ORDER = ("loss", "gradient", "weights")
Run = Mapping[str, Any]


def parity_page(run: Run) -> str:
    """Return the page of a run, as HTML.

    Args:
        run: What the tests left: "passed", "failures", "diagnosis", "records", "series",
            "trained", "machine", "command", "commit" and "date".
    """
    every = rows(Record(**record) for record in run["records"])
    first = [run["diagnosis"]["first"]] if run["diagnosis"] else []
    failed = {failure["rung"] for failure in [*first, *run["failures"]]}
    return rendered(
        "parity.html",
        dict(run),
        run=run,
        sentence=sentence(run, every),
        facts=facts(run, every),
        provenance=provenance(run),
        ladder=ladder(every, failed),
        rows=[asdict(row) for row in every],
        losses=losses(run),
        differences=differences(run),
        kernels=kernels(run["trained"]),
        images=images(run["trained"]),
        traps=traps(),
        speed=json.loads((RESULTS / "benchmark.json").read_text()),
        book=json.loads((RESULTS / "book_numbers.json").read_text()),
        twins=twins(ROOT),
        infinity=math.inf,
    )


def sentence(run: Run, every: list[Row]) -> str:
    """Return the verdict."""
    failures, tests = run["failures"], len(run["failures"]) + run["passed"]
    if failures:
        rung = run["diagnosis"]["first"]["rung"]
        where = f", first on the rung {rung}" if rung else ""
        return f"Not the same training{where}: {len(failures)} of {tests} tests failed."
    if {row.rung for row in every} != set(RUNGS):
        return f"What was compared agrees: {tests} tests passed, but not every rung was climbed."
    return f"The same training on every rung: {tests} tests passed."


def facts(run: Run, every: list[Row]) -> list[tuple[str, str]]:
    """Return the figures of the verdict, each under its name."""
    found = []
    if every:
        nearest = min(every, key=lambda row: row.headroom)
        share = in_words(nearest.headroom)
        where = f"{share}, {nearest.bound} ({nearest.quantity}, {nearest.dtype})"
        found.append(("numbers compared", f"{sum(row.numbers for row in every):,}"))
        found.append(("the worst difference", where))
    if trained := run["trained"]:
        labels, accuracy = trained["labels"], trained["accuracy"]
        values = f"{accuracy['port']:.4f} and {accuracy['reference']:.4f}"
        found.append(("equal labels", f"{labels['equal']:,} of {labels['compared']:,}"))
        found.append(("accuracy of PyTorch and TensorFlow", values))
    return found


def provenance(run: Run) -> list[tuple[str, str]]:
    """Return where the figures come from."""
    versions = dict(run["machine"])
    computer = f"{versions.pop('cpu')}, {versions.pop('cores')} cores"
    named = ", ".join(f"{name} {version}" for name, version in versions.items())
    return [
        ("date", run["date"]),
        ("commit", run["commit"] or "unknown"),
        ("machine", computer),
        ("versions", named),
        ("command", run["command"]),
    ]


def in_words(headroom: float) -> str:
    """Return how a difference compares with its bound: `headroom` is the bound over it."""
    if math.isinf(headroom):
        return "equal"
    if headroom < 1:
        return "beyond its bound"
    if headroom < 1.005:
        return "its whole bound"
    return (
        f"1/{headroom:,.0f} of its bound" if headroom >= 100 else f"1/{headroom:.3g} of its bound"
    )


def ladder(every: list[Row], failed: Collection[str]) -> list[dict[str, Any]]:
    """Return each rung: whether it held, and a bar for each of its quantities."""
    found = []
    for rung in RUNGS:
        of_rung = [row for row in every if row.rung == rung]
        equal = all(math.isinf(row.headroom) for row in of_rung)
        state = "failed" if rung in failed else "equal" if equal else "within"
        bars = [
            {
                "quantity": row.quantity,
                "dtype": row.dtype,
                "words": in_words(row.headroom),
                "beyond": row.headroom < 1,
                "percent": bar(1 / row.headroom if row.headroom else math.inf),
            }
            for row in of_rung
        ]
        state = state if of_rung or rung in failed else "absent"
        found.append({"name": rung, "state": state, "bars": bars})
    return found


def losses(run: Run) -> dict[str, Any] | None:
    """Return the curves of the loss in two widths; None if no training was compared."""
    of = run["series"].get("float32", {}).get("losses")
    if not of:
        return None
    book = json.loads((RESULTS / "book_numbers.json").read_text())
    printed = book["printed"]["losses"]
    wide, narrow = (loss_chart(of, book["losses"], printed, width) for width in (1240, 380))
    return {"wide": wide, "narrow": narrow, "last": {k: values[-1] for k, values in of.items()}}


def differences(run: Run) -> list[dict[str, Any]]:
    """Return a chart for each quantity and dtype of the ten epochs."""
    found = []
    for dtype, series in sorted(run["series"].items()):
        steps = len(series["losses"].get("port", ())) or STEPS_OF_EPOCH
        for quantity in [quantity for quantity in ORDER if quantity in series["differences"]]:
            curve = series["differences"][quantity]
            worst = max(curve["difference"], default=0.0)
            name = f"{quantity}, {dtype}"
            found.append(
                {
                    "name": name,
                    "tensor": curve["tensor"],
                    "chart": difference_chart(curve, name, steps),
                    "worst": worst,
                    "words": in_words(1 / curve["share"] if curve["share"] else math.inf),
                }
            )
    return found


def kernels(trained: Run | None) -> dict[str, Any] | None:
    """Return pictures of what training has added to the kernels of some units."""
    if trained is None:
        return None
    of = trained["kernels"]
    largest, apart = (
        max(abs(value) for name in names for unit in of[name] for value in unit)
        for names in (("reference", "port"), ("difference",))
    )
    scales = {"reference": largest, "port": largest, "difference": apart or 1.0}
    pictures = [
        {
            "unit": unit,
            "pictures": {
                name: picture(of[name][index], -scale, scale, "PuOr")
                for name, scale in scales.items()
            },
        }
        for index, unit in enumerate(of["units"])
    ]
    return {"largest": largest, "apart": apart, "units": pictures}


def images(trained: Run | None) -> list[dict[str, Any]]:
    """Return pictures of the images that were shown, with what both say of them."""
    found = []
    for image in trained["images"] if trained else ():
        probabilities = image["probabilities"]
        classes = sorted(range(10), key=lambda c: -probabilities["reference"][c])[:2]
        likely = {max(range(10), key=values.__getitem__) for values in probabilities.values()}
        said = [
            {"class": c, **{name: values[c] for name, values in probabilities.items()}}
            for c in sorted(likely | set(classes), key=lambda c: -probabilities["reference"][c])
        ]
        found.append({**image, "picture": picture(image["pixels"], 0, 255), "said": said})
    return found


def traps() -> dict[str, Any]:
    """Return what sees each known mistake, with the place of its rung."""
    found = json.loads(TRAPS.read_text())
    for trap in found["traps"]:
        trap["place"] = RUNGS.index(trap["declared"])
    return found
