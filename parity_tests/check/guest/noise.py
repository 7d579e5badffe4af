"""What a program of PyTorch draws at random in training: noted, and switched off where asked."""

import functools
import math
from collections.abc import Callable, Sequence
from itertools import product
from typing import Any

import torch

DROPOUTS = ("dropout", "dropout1d", "dropout2d", "dropout3d", "alpha_dropout")
CHANNELS = {"dropout1d": 2, "dropout2d": 0, "dropout3d": 4}
"""By a dropout of whole channels, how many axes an input has that it takes for one sample."""
RECURRENT = ("lstm", "gru", "rnn_tanh", "rnn_relu")


class Noise:
    """Lets nothing be dropped out while it is off, whichever function would do so.

    Attributes:
        on: Whether numbers are drawn as the program wants it.
        drawn: What would have been drawn, such as "0.5 of 256 numbers": the rate of a dropout, and
            how many numbers it draws.
        marked: Whether what would be noisy is multiplied by 1 + the rate instead.
    """

    def __init__(self) -> None:
        self.on = True
        self.drawn: list[str] = []
        self.marked = False
        functional = vars(torch.nn.functional)
        # Before the program is run, so that it takes these, by whatever name.
        for owner, name in product((vars(torch), functional), DROPOUTS):
            if name in owner:
                owner[name] = self._dropout(owner[name])
        attend = "scaled_dot_product_attention"
        functional[attend] = self._attention(functional[attend])
        for name in RECURRENT:
            setattr(torch._VF, name, self._recurrent(getattr(torch._VF, name)))
        torch.Tensor.bernoulli_ = self._bernoulli(torch.Tensor.bernoulli_)  # type: ignore[method-assign]

    def _dropout(self, dropout: Callable) -> Callable:
        @functools.wraps(dropout)
        def watched(
            input: Any,  # noqa: A002 (torch's name)
            p: float = 0.5,
            training: bool = True,
            *arguments: Any,
            **options: Any,
        ) -> Any:
            if self.on:
                return dropout(input, p, training, *arguments, **options)
            if training and p:
                name = dropout.__name__
                kind = "alpha dropout " if "alpha" in name else ""
                shape = input.shape
                if name in CHANNELS:
                    shape = shape[: 1 + (input.ndim != CHANNELS[name])]
                return self._instead(input, self._factor(kind, p, shape))
            return input

        return watched

    def _attention(self, attend: Callable) -> Callable:
        @functools.wraps(attend)
        def watched(
            query: Any,
            key: Any,
            value: Any,
            attn_mask: Any = None,
            dropout_p: float = 0.0,
            *arguments: Any,
            **options: Any,
        ) -> Any:
            factor = 1.0
            if not self.on and dropout_p:
                factor = self._factor("", dropout_p, (*query.shape[:-1], key.shape[-2]))
                dropout_p = 0.0
            attended = attend(query, key, value, attn_mask, dropout_p, *arguments, **options)
            return self._instead(attended, factor)

        return watched

    def _recurrent(self, run: Callable) -> Callable:
        """Return what computes recurrent layers, which drops numbers out from one to the next."""

        @functools.wraps(run)
        def watched(*arguments: Any) -> Any:
            given = list(arguments)
            at = next(i for i, given_one in enumerate(given) if isinstance(given_one, bool))
            weights, (layers, rate, training, both) = list(given[at - 1]), given[at + 1 : at + 5]
            if not self.on and training and rate:
                each = len(weights) // (layers * (1 + both))
                steps = given[0].numel() // given[0].shape[-1]
                shape = (steps, weights[each * (1 + both)].shape[1] if layers > 1 else 0)
                for level in range(1, layers):
                    factor = self._factor("", rate, shape)
                    for way in range(1 + both):
                        place = each * (level * (1 + both) + way)
                        weights[place] = weights[place] * factor  # as its input would be
                given[at - 1], given[at + 2] = weights, 0.0
            return run(*given)

        return watched

    def _factor(self, kind: str, rate: float, shape: Sequence[int]) -> float:
        """Note what is not drawn, and return by what is multiplied instead."""
        self.drawn.append(f"{kind}{rate:g} of {math.prod(shape)} numbers")
        return 1 + rate if self.marked else 1.0

    def _instead(self, tensor: Any, factor: float) -> Any:
        return tensor if factor == 1 else tensor * factor

    def _bernoulli(self, draw: Callable) -> Callable:
        """Return what draws the mask of a stochastic depth: its mean, where nothing is dropped."""

        @functools.wraps(draw)
        def watched(tensor: torch.Tensor, p: Any = 0.5, **options: Any) -> torch.Tensor:
            if self.on or not isinstance(p, float):
                return draw(tensor, p, **options)
            return tensor.fill_(p * self._factor("", 1 - p, tensor.shape))

        return watched
