"""Charts as inline SVG, in colours that the page's theme decides."""

import io
import re
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
from markupsafe import Markup
from matplotlib.figure import Figure

# Colours that stand for variables of the style sheet, which has a light and a dark set.
COLOURS = {
    "ink": "#010101",
    "line": "#020202",
    "reference": "#030303",
    "port": "#040404",
    "bound": "#050505",
    "paper": "#060606",
}
STEPS_OF_EPOCH = 469

_SETTINGS: dict[Any, Any] = {
    "svg.fonttype": "none",
    "font.size": 12.0,
    "font.family": "sans-serif",
    "path.simplify_threshold": 0.5,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.facecolor": "none",
    "text.color": COLOURS["ink"],
    "axes.labelcolor": COLOURS["ink"],
    "axes.edgecolor": COLOURS["line"],
    "xtick.color": COLOURS["line"],
    "ytick.color": COLOURS["line"],
    "xtick.labelcolor": COLOURS["ink"],
    "ytick.labelcolor": COLOURS["ink"],
    "grid.color": COLOURS["line"],
    "grid.linewidth": 0.4,
    "axes.grid": True,
    "legend.frameon": False,
}


def loss_chart(
    losses: Mapping[str, Sequence[float]],
    book: Mapping[str, Any],
    printed: Sequence[Sequence[float]],
    width: int,
) -> Markup:
    """Return both curves of the loss, the book's printed losses and the ranges of many seeds.

    Args:
        losses: Of each step, of "reference" and "port".
        book: The "min" and "max" of the losses that the book prints, over many seeds: by epoch,
            of the batches 0, 100, 200, 300 and 400.
        printed: What the book prints, by epoch.
        width: In CSS pixels.
    """

    def steps(table: Any) -> np.ndarray:
        return np.concatenate(
            [STEPS_OF_EPOCH * epoch + 100 * np.arange(len(row)) for epoch, row in enumerate(table)]
        )

    with mpl.rc_context(_SETTINGS | {"svg.hashsalt": f"losses {width}"}):
        figure = Figure(figsize=(width / 72, 380 / 72), layout="constrained")
        axes = figure.subplots()
        for name, label, style, line_width in (
            ("reference", "TensorFlow", "-", 2.5),
            ("port", "PyTorch", "-", 0.6),
        ):
            axes.plot(losses[name], style, color=COLOURS[name], lw=line_width, label=label)
        least, most = (np.concatenate(book[name]) for name in ("min", "max"))
        axes.vlines(
            steps(book["min"]), least, most, color=COLOURS["ink"], lw=1.5, label="range of seeds"
        )
        axes.plot(
            steps(printed), np.concatenate(printed), "o", ms=5, mfc=COLOURS["paper"],
            mec=COLOURS["ink"], mew=1.2, label="printed in the book", zorder=3,
        )  # fmt: skip
        axes.set(xlabel="epoch", ylabel="loss in nats per sample", yscale="log")
        axes.margins(x=0.01)
        count = -(-len(losses["port"]) // STEPS_OF_EPOCH)
        axes.set_xticks(
            STEPS_OF_EPOCH * np.arange(count + 1), [str(epoch) for epoch in range(count + 1)]
        )
        axes.set_yticks([0.5, 1, 2, 5], ["0.5", "1", "2", "5"])
        axes.minorticks_off()
        axes.legend()
        return _svg(figure)


def difference_chart(curve: Mapping[str, Sequence[float]], name: str, steps: int) -> Markup:
    """Return the differences of a quantity over a training, and their bound.

    Args:
        curve: The "difference" and the "bound" of each point, relative to the tensor's scale.
        name: Of the chart; each of a page needs its own.
        steps: Of the whole training.
    """
    with mpl.rc_context(_SETTINGS | {"svg.hashsalt": name}):
        figure = Figure(figsize=(340 / 72, 200 / 72), layout="constrained")
        axes = figure.subplots()
        difference, bound = (np.array(curve[key], float) for key in ("difference", "bound"))
        at = np.arange(1, len(bound) + 1) * steps / len(bound) / STEPS_OF_EPOCH
        style = "o-" if len(at) < 50 else "-"
        axes.plot(at, bound, "--", color=COLOURS["bound"], lw=1.5)
        # A difference of 0 has no place on a logarithmic scale.
        shown = np.where(difference > 0, difference, np.nan)
        axes.plot(at, shown, style, color=COLOURS["port"], lw=1.2, ms=4)
        axes.set(yscale="log", xlabel="epoch", xlim=(0, steps / STEPS_OF_EPOCH))
        axes.minorticks_off()
        return _svg(figure)


def _svg(figure: Figure) -> Markup:
    """Return a figure as SVG whose colours are variables of the style sheet."""
    content = io.StringIO()
    figure.savefig(content, format="svg", transparent=True, metadata={"Date": None})
    svg = content.getvalue()
    svg = svg[svg.index("<svg") :]
    for pattern, replacement in (
        (r"<metadata>.*?</metadata>|<style.*?</style>|<!--.*?-->", ""),
        (r'<g id="\w+"', "<g"),
        (r'width="([\d.]+)pt" height="([\d.]+)pt"', r'width="\1" height="\2"'),
        (r"font-family: [^;]*", "font-family: inherit"),
        (r"(\d\.\d\d)\d+", r"\1"),
        (r"\s+", " "),
    ):
        svg = re.sub(pattern, replacement, svg, flags=re.DOTALL)
    for name, colour in COLOURS.items():
        svg = svg.replace(colour, f"var(--{name})")
    return Markup(svg.replace("<svg ", '<svg aria-hidden="true" ', 1))  # noqa: S704 (our own)
