"""The tolerances: one rule, one table.

The rule. What is judged may differ from the truth by at most

    multiple * (the yardstick's own difference from the truth) + ulps * (unit in the last place)

The truth is the float64 oracle and the yardstick the reference, so a float32 port may be
no worse than a fixed multiple of the reference itself; nobody chooses a number that makes
it pass. Differences are the largest of a tensor. The yardstick's is taken relative to the
scale of the tensor, and the largest so far in the step or the epoch counts, for now and then
a step happens to come out exact. The unit in the last place is that of the scale: the tensor's
largest value, or the size of the terms of its sums where they may cancel; where the
arithmetic is elementwise, each element has its own. Units are counted for batches of up to
128 samples; beyond, they grow with the square root of the batch, as the rounding errors of a
sum do.

A yardstick that is itself too far from the truth judges nothing. Rounding to float32 puts
the reference up to 400 units away (the summary's column "own"), a GPU's TensorFloat-32 more
than ten thousand; so beyond 2048 the reference is refused.

Where the multiple is 0 there is no yardstick, and the truth is the reference: elementwise
arithmetic agrees bit for bit, float64 to rounding.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Tolerance:
    """One row of the table.

    Attributes:
        multiple: Of the yardstick's own difference from the truth.
        ulps: Units in the last place, in the dtype of what is judged.
        reason: Why this much, in a few words.
        elementwise: Whether each element has a unit of its own.
        own_ulps: Units in the last place by which the yardstick itself may miss the truth.
    """

    multiple: float
    ulps: float
    reason: str
    elementwise: bool = False
    own_ulps: float = 2048


MULTIPLE = 10.0
"""Of the reference's error in float32: one number for every quantity and tensor."""

_SUMS = "the same sums of products, added in another order"
_LOGITS = "the same, and softmax multiplies it by the size of its logits, here up to 137"

TABLE: dict[str, dict[str, Tolerance]] = {
    "pixels": {
        "float32": Tolerance(0, 0, "a byte over 255, rounded once"),
        "float64": Tolerance(0, 0, "a byte over 255, rounded once"),
    },
    "labels": {"int64": Tolerance(0, 0, "integers: nothing is rounded")},
    "initial weights": {
        "float32": Tolerance(0, 0, "NumPy draws them for every framework"),
        "float64": Tolerance(0, 0, "NumPy draws them for every framework"),
    },
    "relu and clip": {
        "float32": Tolerance(0, 0, "comparisons: nothing is rounded"),
        "float64": Tolerance(0, 0, "comparisons: nothing is rounded"),
    },
    "dense on integers": {
        "float32": Tolerance(0, 0, "small integers: nothing is rounded"),
        "float64": Tolerance(0, 0, "small integers: nothing is rounded"),
    },
    "log": {
        "float32": Tolerance(0, 2, "each library's log is right to one unit", elementwise=True),
        "float64": Tolerance(0, 2, "each library's log is right to one unit", elementwise=True),
    },
    "softmax": {
        "float32": Tolerance(MULTIPLE, 4, "ten exponentials, a sum and a division"),
        "float64": Tolerance(0, 8, "ten exponentials, a sum and a division"),
    },
    "layer output": {
        "float32": Tolerance(MULTIPLE, 4, _SUMS),
        "float64": Tolerance(0, 4096, _LOGITS),
    },
    "loss of each sample": {
        "float32": Tolerance(0, 4, "the logarithm of a sum near 1", elementwise=True),
        "float64": Tolerance(0, 4, "the logarithm of a sum near 1", elementwise=True),
    },
    "loss": {
        "float32": Tolerance(MULTIPLE, 4, _SUMS),
        "float64": Tolerance(0, 4096, _LOGITS),
    },
    "gradient": {
        "float32": Tolerance(MULTIPLE, 4, _SUMS),
        "float64": Tolerance(0, 4096, _LOGITS),
    },
    "update by hand": {
        "float32": Tolerance(0, 0, "one product and one difference, each rounded once"),
        "float64": Tolerance(0, 0, "one product and one difference, each rounded once"),
    },
    "update by SGD": {
        "float32": Tolerance(0, 1, "product and difference may be fused", elementwise=True),
        "float64": Tolerance(0, 1, "product and difference may be fused", elementwise=True),
    },
    "update by RMSprop": {
        "float32": Tolerance(0, 2, "products and sums may be fused"),
        "float64": Tolerance(0, 2, "products and sums may be fused"),
    },
    "weights": {
        "float32": Tolerance(MULTIPLE, 4, "each keeps its own, rounded at every step"),
        "float64": Tolerance(0, 1024, "each keeps its own, rounded at every step"),
    },
    "accuracy": {"float64": Tolerance(0, 0, "the fraction of equal labels")},
}
"""By quantity, then by the dtype of what is judged."""
