"""What is mutated, and the tests that judge it: quick ones, and none that needs TensorFlow."""

LADDER = "parity_tests/tests/ladder"
PACKAGES = "parity_tests/tests/packages"
CLIMB = "parity_tests/tests/mutation/climb.py"
CHECK = "parity_tests/tests/check"
TRAPS = "parity_tests/tests/traps"
MODELS = "parity_tests/tests/models"
RECIPES = [
    f"{MODELS}/test_recipes.py",
    f"{MODELS}/test_recurrent_recipes.py",
    f"{MODELS}/test_joined.py",
]
PORT = ["-k", "not tf_reference and not keras", "-m", "not soak"]

JUDGES: dict[str, list[str]] = {
    "torch_port/layers.py": [
        f"{PACKAGES}/test_port.py",
        f"{PACKAGES}/test_port_training.py",
        f"{PACKAGES}/test_training.py",
        CLIMB,
        f"{PACKAGES}/test_bad_arguments.py",
        *PORT,
    ],
    "torch_port/losses.py": [CLIMB],
    "torch_port/optimizers.py": [
        f"{PACKAGES}/test_port.py",
        f"{PACKAGES}/test_port_training.py",
        f"{PACKAGES}/test_training.py",
        f"{PACKAGES}/test_rmsprop.py",
        CLIMB,
        f"{PACKAGES}/test_bad_arguments.py",
        *PORT,
    ],
    "torch_port/training.py": [
        f"{PACKAGES}/test_port.py",
        f"{PACKAGES}/test_port_training.py",
        f"{PACKAGES}/test_training.py",
        CLIMB,
        f"{PACKAGES}/test_bad_arguments.py",
        *PORT,
    ],
    "torch_port/evaluation.py": [
        f"{PACKAGES}/test_port_training.py",
        f"{PACKAGES}/test_training.py",
        f"{PACKAGES}/test_bad_arguments.py",
        *PORT,
    ],
    "torch_port/weights.py": [f"{PACKAGES}/test_port_weights.py"],
    "torch_port/gradients.py": [f"{PACKAGES}/test_gradient_examples.py", "-k", "torch_port"],
    "torch_port/first_example.py": [
        f"{PACKAGES}/test_port_first_example.py",
        f"{PACKAGES}/test_bad_arguments.py",
        *("-k", "not tf_reference"),
    ],
    "parity_tests/ladder/compare.py": [f"{LADDER}/test_judge.py", f"{LADDER}/test_compare.py"],
    "parity_tests/ladder/tolerance.py": [f"{LADDER}/test_judge.py", f"{LADDER}/test_compare.py"],
    "parity_tests/ladder/report.py": [f"{LADDER}/test_judge.py", f"{LADDER}/test_compare.py"],
    "parity_tests/check/compared.py": [f"{MODELS}/test_compared.py"],
    "parity_tests/check/keras/units.py": [
        f"{MODELS}/test_units.py",
        f"{MODELS}/test_joined.py",
        f"{MODELS}/test_traces.py",
    ],
    "parity_tests/check/models/moves.py": RECIPES,
    "parity_tests/check/models/recipes.py": RECIPES,
    "parity_tests/check/models/explain.py": [
        f"{MODELS}/test_explain.py",
        f"{MODELS}/test_explain_one.py",
    ],
    "parity_tests/check/book/mapping.py": [f"{CHECK}/test_mapping.py"],
    "parity_tests/check/models/mapping.py": [f"{MODELS}/test_mapping.py"],
    "parity_tests/traps/residual.py": [f"{TRAPS}/test_residual.py"],
    "parity_tests/traps/diagnosis.py": [f"{TRAPS}/test_search.py"],
    "parity_tests/traps/finding.py": [f"{TRAPS}/test_finding.py"],
    "parity_tests/check/results.py": [f"{CHECK}/test_results.py"],
}
"""By path, the arguments of pytest."""
