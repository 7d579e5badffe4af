"""What the README shows is what the code is."""

import difflib
from pathlib import Path

ROOT = Path(__file__).parents[1]


def test_the_diff_in_the_readme_is_that_of_the_twins():
    paths = "tf_reference/losses.py", "torch_port/losses.py"
    reference, port = ((ROOT / path).read_text().splitlines() for path in paths)
    diff = "\n".join(difflib.unified_diff(reference, port, *paths, lineterm=""))
    assert diff in (ROOT / "README.md").read_text()
