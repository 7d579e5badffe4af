"""A model and its port, from their texts to the verdicts."""

import pytest

from parity_tests.check.models import judging
from parity_tests.check.models.examination import examine


def left_of(verdicts):
    """Return what was left out of rungs that were judged, but for the initial weights."""
    return [part for part in verdicts.parts if not part.startswith("the initial weights")]


@pytest.fixture(autouse=True)
def unhurried(monkeypatch):
    """Let a search for mistakes take its time, since other tests may take the processor."""
    monkeypatch.setattr(judging, "REPAIRED", 1200)
    monkeypatch.setattr(judging, "LEAST", 1200)


@pytest.fixture
def examined(tmp_path):
    """Return the verdicts on a port beside a model, with a part of the port replaced."""

    def examined(original, port, replace="", by=""):
        assert replace in port
        head = "import keras\nfrom keras import layers\n"
        (tmp_path / "original.py").write_text(head + original)
        port = port.replace(replace, by) if replace else port
        (tmp_path / "port.py").write_text("import torch\nfrom torch import nn\n" + port)
        return examine(tmp_path / "port.py", tmp_path / "original.py", "float64")

    return examined
