"""The zoo: pairs of a Keras model and its right port, and ports with one mistake each."""

from pathlib import Path

import pytest

from parity_tests.models.check import examine
from parity_tests.models.sensitivity import mistakes

ZOO = Path(__file__).parent / "zoo"
PAIRS = sorted(path.name for path in ZOO.iterdir() if (path / "port.py").is_file())
QUICK = {"cnn": 1}
"""Pairs that are judged each time, and how many of their mistakes; the others in `make soak`."""


def marked(quick):
    return () if quick else pytest.mark.soak


RIGHT = [
    pytest.param(name, dtype, marks=marked(name in QUICK and dtype == "float64"))
    for name in PAIRS
    for dtype in ("float64", "float32")
]
WRONG = [
    pytest.param(
        name,
        mistake,
        id=f"{name}-{mistake['expected']}",
        marks=marked(index < QUICK.get(name, 0)),
    )
    for name in PAIRS
    for index, mistake in enumerate(mistakes(ZOO / name))
]


@pytest.mark.parametrize(("name", "dtype"), RIGHT)
def test_a_right_port_passes_on_all_rungs(name, dtype, capsys):
    verdicts = examine(ZOO / name / "port.py", ZOO / name / "original.py", dtype)
    assert verdicts.failed == [], capsys.readouterr().out
    assert verdicts.usable


@pytest.mark.parametrize(("name", "mistake"), WRONG)
def test_a_mistake_is_caught_and_named(name, mistake, tmp_path, capsys):
    source = (ZOO / name / "port.py").read_text()
    assert mistake["replace"] in source
    port = tmp_path / "port.py"
    port.write_text(source.replace(mistake["replace"], mistake["by"], 1))
    verdicts = examine(port, ZOO / name / "original.py", "float64")
    assert verdicts.failed, "it was not caught"
    true = [mistake["expected"], *([mistake["also"]] if "also" in mistake else [])]
    assert len(verdicts.findings) == len(true), verdicts.findings
    for name, finding in zip(true, verdicts.findings, strict=True):
        assert name in finding


def test_there_are_twelve_pairs_and_four_mistakes_of_each():
    assert len(PAIRS) >= 12
    assert min(len(mistakes(ZOO / name)) for name in PAIRS) >= 4
