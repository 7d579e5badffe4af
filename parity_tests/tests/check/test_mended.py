"""Wrong ports of the book's network: the change that mends each, in its line and in its text."""

import pytest

from parity_tests.check.repairs import book
from parity_tests.tests.check.sources import MODULE

WRONG = {
    "the rate": ("lr=1e-3", "lr=3e-3", "SGD: lr = 0.003 -> 0.001", "lr=0.001)"),
    "the activation": (
        "torch.relu(self.hidden(x))",
        "torch.tanh(self.hidden(x))",
        "tanh: relu instead",
        "torch.nn.functional.relu(self.hidden(x))",
    ),
    "the reduction": ("labels)\n", "labels, reduction='sum')\n", "'sum' -> 'mean'", "'mean')"),
}


@pytest.mark.sampled(3)
@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_port_is_mended_in_its_text_and_the_mended_one_passes(
    check, tmp_path, monkeypatch, name
):
    monkeypatch.setattr(book, "SECONDS", 300)  # other tests may take the processor
    right, wrong, sentence, text = WRONG[name]
    assert right in MODULE
    fixed = tmp_path / "fixed.py"
    source = MODULE.replace(right, wrong, 1)
    status, out, err = check(source, "--fix", fixed)
    assert status == 1, out + err
    line = source[: source.index(wrong)].count("\n") + 1
    assert f"mended by: port.py:{line}: " in out
    assert sentence in out
    assert text in fixed.read_text()
    assert f"{fixed} agrees in what was judged" in out.replace("\n", " ")


def test_what_no_change_of_the_text_mends_is_not_written(check, tmp_path):
    fixed = tmp_path / "fixed.py"
    status, out, _ = check(
        MODULE.replace("labels)\n", "labels) + images.mean()\n", 1), "--fix", fixed
    )
    assert status == 1
    assert "is not written" in out
    assert not fixed.exists()
