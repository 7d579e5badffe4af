"""Pairs of a Keras model and ports as strangers write them, each judged wrongly once."""

from pathlib import Path

import pytest

from parity_tests.check.models.examination import examine

FOLDER = Path(__file__).parent / "pairs"
QUICK = {
    ("broadcast", "script_port.py"),
    ("class_weight", "right.py"),
    ("time_distributed", "right.py"),
}
"""What is judged each time; the others in `make soak`."""

RIGHT = {("init", "port.py")}
"""Ports that are right, though they are not called so: initial weights are drawn by each side."""

WRONG = {("schedule", "right.py")}
"""Ports that are wrong, though they are called right: torch's momentum differs under a schedule."""

DROPOUT = {("transformer_encoder_layer", "original.py"): {"right_nodropout.py"}}
"""Beside which models a right port is wrong, since it has no dropout."""


def pairs():
    """Yield each port beside each model of its folder, and whether it is right."""
    for folder in sorted(FOLDER.iterdir()):
        scripts = set(folder.glob("script_*.py"))
        for port in sorted(folder.glob("*.py")):
            for original in sorted(folder.glob("*original*.py")):
                alike = (port in scripts) == (original in scripts)
                if "original" in port.name or not alike:
                    continue
                key = folder.name, port.name
                right = (port.name.startswith("right") or key in RIGHT) and key not in WRONG
                if port.name in DROPOUT.get((folder.name, original.name), ()):
                    right = False
                marks = () if key in QUICK else pytest.mark.soak
                name = f"{folder.name}-{port.stem}-{original.stem}"
                yield pytest.param(port, original, right, id=name, marks=marks)


@pytest.mark.parametrize(("port", "original", "right"), list(pairs()))
def test_a_pair_as_strangers_write_it_is_judged_rightly(port, original, right, capsys):
    verdicts = examine(port, original, "float64")
    assert verdicts.usable, capsys.readouterr().out
    assert (not verdicts.failed) == right, capsys.readouterr().out
