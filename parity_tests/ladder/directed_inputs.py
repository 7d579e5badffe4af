"""Inputs that reach the branches which training seldom meets."""

import numpy as np

from parity_tests.ladder.oracle import initial_weights


def directed_weights(
    dtype: str, sizes: tuple[int, ...] = (784, 512, 10)
) -> dict[str, dict[str, np.ndarray]]:
    """Return weights that reach branches which training seldom meets, by a name of each case."""
    plain = initial_weights(0, sizes, dtype)
    last = f"layers.{len(sizes) - 2}"
    kink = {**plain, "layers.0.W": plain["layers.0.W"].copy()}
    kink["layers.0.W"][:, : sizes[1] // 2] = 0  # pre-activations of exactly 0
    tie = {**plain, f"{last}.W": plain[f"{last}.W"].copy()}
    tie[f"{last}.W"][:, 7] = tie[f"{last}.W"][:, 4]  # two equal probabilities
    rng = np.random.default_rng(2)
    biases = {
        name: w if name.endswith("W") else rng.normal(0, 20, w.shape).astype(dtype)
        for name, w in plain.items()
    }
    # Logits of a few units of both signs.
    biases[f"{last}.W"] = ((plain[f"{last}.W"] - 0.05) / 20).astype(dtype)
    biases[f"{last}.b"] /= 20
    saturated = {**plain, f"{last}.W": plain[f"{last}.W"].copy()}
    saturated[f"{last}.W"][:, 3] *= 100  # logits near 1e4: one probability is 1, nine are 0
    return {
        "seed 0": plain,
        "seed 7": initial_weights(7, sizes, dtype),  # two samples of the first batch are clipped
        "kink": kink,
        "tie": tie,
        "biases": biases,  # some pre-activations and logits below 0
        "saturated": saturated,
    }


def directed_predictions(dtype: str) -> tuple[np.ndarray, np.ndarray]:
    """Return probabilities at and beyond the bounds of the clip, and labels 0 to 9 for each."""
    rows = np.full((6, 10), 0.1)
    rows[1] = np.eye(10)[0]  # p = 1, and p = 0 nine times
    rows[2] = [1 - 9e-8, *[1e-8] * 9]  # every p beyond a bound
    rows[3] = [1 - 9e-7, *[1e-7] * 9]  # on the lower bound
    rows[4] = [1 - 1e-7, 1e-7, *[0.0] * 8]  # on both bounds
    rows[5] = [0.5, 0.5, *[0.0] * 8]  # a tie
    rows = np.concatenate([rows, rows[:, ::-1]])
    return rows.repeat(10, axis=0).astype(dtype), np.tile(np.arange(10), len(rows))
