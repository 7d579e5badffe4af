"""The zoo: pairs of a Keras model and its right port, and ports with one mistake each."""

from pathlib import Path

import pytest

from parity_tests.models.check import examine
from parity_tests.models.sensitivity import mistakes

ZOO = Path(__file__).parent / "zoo"
PAIRS = sorted(path.name for path in ZOO.iterdir() if (path / "port.py").is_file())
QUICK = ("cnn", "float64")
"""The pair that is judged each time; the others, and all mistakes, in `make soak`."""


RIGHT = [
    pytest.param(name, dtype, marks=() if (name, dtype) == QUICK else pytest.mark.soak)
    for name in PAIRS
    for dtype in ("float64", "float32")
]
WRONG = [
    pytest.param(name, mistake, id=f"{name}-{mistake['expected']}")
    for name in PAIRS
    for mistake in mistakes(ZOO / name)
]


@pytest.mark.parametrize(("name", "dtype"), RIGHT)
def test_a_right_port_passes_on_all_rungs(name, dtype, capsys):
    verdicts = examine(ZOO / name / "port.py", ZOO / name / "original.py", dtype)
    assert verdicts.failed == [], capsys.readouterr().out
    assert verdicts.usable


@pytest.mark.soak
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
