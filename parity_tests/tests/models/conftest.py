"""A model and its port, from their texts to the verdicts."""

import pytest

from parity_tests.models.check import examine


@pytest.fixture
def examined(tmp_path):
    """Return the verdicts on a port beside a model."""

    def examined(original, port):
        head = "import keras\nfrom keras import layers\n"
        (tmp_path / "original.py").write_text(head + original)
        (tmp_path / "port.py").write_text("import torch\nfrom torch import nn\n" + port)
        return examine(tmp_path / "port.py", tmp_path / "original.py", "float64")

    return examined
