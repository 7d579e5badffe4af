"""What is mutated, and the tests that judge it: quick ones, and none that needs TensorFlow."""

LADDER = "parity_tests/tests/ladder"

JUDGES: dict[str, list[str]] = {
    "parity_tests/ladder/compare.py": [f"{LADDER}/test_judge.py", f"{LADDER}/test_compare.py"],
    "parity_tests/ladder/tolerance.py": [f"{LADDER}/test_judge.py", f"{LADDER}/test_compare.py"],
    "parity_tests/ladder/report.py": [f"{LADDER}/test_judge.py", f"{LADDER}/test_compare.py"],
}
"""By path, the arguments of pytest."""
