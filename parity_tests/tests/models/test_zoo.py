"""The zoo: pairs of a Keras model and its right port, and ports with one mistake each."""

import json
from pathlib import Path

import pytest

from parity_tests.check.models import examination
from parity_tests.check.models.examination import examine
from parity_tests.tests.models import sensitivity, timing
from parity_tests.tests.models.sensitivity import ZOO, mistakes

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
    findings = [str(finding) for finding in verdicts.findings]
    assert len(findings) == len(true), findings
    for name, finding in zip(true, findings, strict=True):
        assert name in finding


PUBLISHED = {
    "densenet121": ("epsilon is 1e-05, not 1.001e-05", "momentum is 0.9, not 0.99"),
    "efficientnet_b0": (
        "rescaling: it is missing and stem_conv_pad: its padding is the same on both sides",
        *("epsilon is 1e-05, not 0.001", "momentum is 0.9, not 0.99"),
    ),
    "mobilenet_v2": (
        "dropout 0.2 of 10240 numbers in the port, none in the model",
        "Conv1: its padding is the same",
        *("epsilon is 1e-05, not 0.001", "momentum is 0.9, not 0.999"),
    ),
    "mobilenet_v3_small": ("conv: its padding is the same", "momentum is 0.99, not 0.999"),
    "resnet50": (
        *("(53 layers): no bias", "its stride is in the next convolution"),
        *("epsilon is 1e-05, not 1.001e-05", "momentum is 0.9, not 0.99"),
    ),
}


@pytest.mark.soak
@pytest.mark.parametrize("name", PUBLISHED)
def test_what_torchvision_does_otherwise_than_keras_is_named(name):
    pair = ZOO.parent / "published" / name
    verdicts = examine(pair / "port.py", pair / "original.py", "float64")
    findings = [str(finding) for finding in verdicts.findings]
    assert not any("unexplained" in finding for finding in findings), findings
    for difference in PUBLISHED[name]:
        assert any(difference in finding for finding in findings), difference


def test_the_readme_shows_what_the_commands_found():
    readme = Path(examination.__file__).with_name("README.md").read_text()
    found = json.loads(ZOO.with_suffix(".json").read_text())
    judged = {name: [of["mistake"] for of in row["mistakes"]] for name, row in found.items()}
    assert judged == {name: [of["expected"] for of in mistakes(ZOO / name)] for name in PAIRS}
    assert sensitivity.table(found) in readme
    assert timing.table(json.loads((ZOO.parent / "times.json").read_text())) in readme


def test_there_are_twelve_pairs_and_four_mistakes_of_each():
    assert len(PAIRS) >= 12
    assert min(len(mistakes(ZOO / name)) for name in PAIRS) >= 4
