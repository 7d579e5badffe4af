"""The training step of a port, called as a function of arrays."""

import inspect
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch

from parity_tests.check.guest.arguments import OF_NAME, call, fill, roles
from parity_tests.check.guest.model import Loose, tensors
from parity_tests.check.messages import NotObservable
from parity_tests.ports.find import Found
from parity_tests.ports.watch import Watch, held_gradient

BATCH = ("model", "images", "labels")
DATA = {"images", "labels", "loader", "data", "dataset"}
"""Roles of arguments that bring data."""


class FoundStep:
    """A model of a file, and the step that trains it.

    Args:
        found: What the file holds.
        watch: Sees its gradients.
        model: Its model.
        dtype: Of the weights and the inputs.
        device: Where it computes.
    """

    def __init__(self, found: Found, watch: Watch, model: Any, dtype: str, device: str) -> None:
        self.found, self.watch, self.model = found, watch, model
        self.dtype, self.device = getattr(torch, dtype), device
        self.returns_other = False
        self.returned: list[Any] = []
        self.made: torch.optim.Optimizer | None = None
        self.first = {name: to_numpy(w) for name, w in tensors(model).items()}
        if isinstance(model, torch.nn.Module):
            model.to(device, self.dtype)  # its buffers as well
        for tensor in tensors(model).values():
            tensor.data = tensor.data.to(device, self.dtype)
        takes = roles(found.step or found.loop or (lambda: None)).values()
        if "optimizer" in takes and "optimizer" not in self._given():
            self.made = torch.optim.SGD(list(tensors(model).values()), lr=1e-3)

    def _tensors(self) -> dict[str, torch.Tensor]:
        """Return the weights, asked for anew each time, without what a model keeps beside them."""
        return {name: w for name, w in tensors(self.model).items() if name in self.first}

    def _batch(self, arrays: Mapping[str, np.ndarray], form: Any) -> tuple[Any, Any]:
        """Return inputs and targets as the step takes them."""
        raise NotImplementedError

    def _take(self, step: Callable, images: Any, labels: Any) -> Any:
        """Call the step, or what stands in its place, with a batch."""
        given = {**self._given(), "images": images, "labels": labels, "batch": (images, labels)}
        return call(step, fill(step, given, self.found.names, BATCH))

    def load_weights(self, arrays: dict) -> tuple[dict, dict]:
        """Replace the weights."""
        tensors = self._tensors()
        for name, array in arrays.items():
            tensors[name].data.copy_(torch.tensor(array))
        return {}, {}

    def weights(self, arrays: dict) -> tuple[dict, dict]:
        """Return the weights."""
        return {}, {name: to_numpy(w) for name, w in self._tensors().items()}

    def step(self, arrays: dict, form: Any) -> tuple[dict, dict]:
        """Train on a batch; return the loss and the gradients that were seen."""
        weights = self._tensors()
        before = [w.detach().clone() for w in weights.values()]
        self.watch.start(list(weights.values()))
        returned = self._train(*self._batch(arrays, form))
        found = {name: to_numpy(g) for name, g in self._gradients(before).items()}
        if (loss := self._loss(returned)) is not None:
            found[""] = loss
        moved = not all(map(torch.equal, before, self._tensors().values()))
        said = {
            "moved": moved,
            "strange": bool(self.watch.strange and not self.watch.updates and not moved),
            "returns other": self.returns_other,
        }
        return said, found

    def _train(self, images: Any, labels: Any) -> Any:
        if self.found.step is None:
            return self._train_by_loop(images, labels)
        return self._take(self.found.step, images, labels)

    def _train_by_loop(self, images: Any, labels: Any) -> Any:
        """Train on one batch by a loop, where the file has no step."""
        name = self._loop_name()
        if not set(roles(self.found.loop or call).values()) & DATA:
            raise NotObservable(f"{name} brings its own data: put its step in a function")
        before = [w.detach().clone() for w in self.watch.weights]
        returned = self._run_loop(images, labels, epochs=1, batch_size=len(images))
        moving = not self.watch.updates and any(g.any() for g in self.watch.gradients.values())
        if moving and all(map(torch.equal, before, self._tensors().values())):
            raise NotObservable(f"{name} changes no weight in an epoch of one batch")
        if len(self.watch.losses) > 1:
            raise NotObservable(
                f"{name} takes {len(self.watch.losses)} steps on one batch: give it an argument "
                "epochs, or put its step in a function"
            )
        return returned

    def _given(self) -> dict[str, Any]:
        """Return what there is for arguments other than data, by role."""
        names = self.found.names
        loose = isinstance(self.model, Loose)
        weights = self.model.weights if loose else list(self._tensors().values())
        given = {"model": weights if loose else self.model, "weights": weights}
        given["device"] = torch.device(self.device)
        kinds: dict[str, Any] = {
            "optimizer": torch.optim.Optimizer,
            "criterion": torch.nn.modules.loss._Loss,
        }
        for role, kind in kinds.items():
            values = {id(v): v for v in names.values() if isinstance(v, kind)}
            named = [v for name, v in names.items() if OF_NAME.get(name) == role]
            chosen = [v for v in named if isinstance(v, kind)]
            if role == "optimizer":  # that of this model
                chosen = [v for v in (*chosen, *values.values()) if self._is_held(v)] or chosen
            else:
                chosen += [v for v in named if inspect.isfunction(v)]
            if chosen or len(values) == 1:
                given[role] = [*chosen, *values.values()][0]
        if self.made is not None:
            given["optimizer"] = self.made
        return given

    def _is_held(self, optimizer: torch.optim.Optimizer) -> bool:
        held = {id(w) for group in optimizer.param_groups for w in group["params"]}
        return not held.isdisjoint(map(id, self._tensors().values()))

    def _gradients(self, before: list) -> dict[str, Any]:
        found = {}
        for index, (name, w) in enumerate(self._tensors().items()):
            held = held_gradient(self.watch.weights[index])
            if not self.watch.updates and self.watch.losses and held is not None and held.any():
                seen = self.watch.gradients.get(index, held)
                moved = (before[index] - w) / 1e-3 if w.shape == seen.shape else held
                # Clipped, perhaps, after it was seen; or put to another use after the update.
                used = (moved - seen).abs().max() <= 1e-3 * seen.abs().max()
                found[name] = seen if used else held
            elif index in self.watch.gradients:
                found[name] = self.watch.gradients[index]
            elif w.shape == before[index].shape and torch.equal(w, before[index]):
                found[name] = torch.zeros_like(w)  # nothing reached it
        return found

    def _loss(self, returned: Any) -> np.ndarray | None:
        """Return the loss among what a step returned; else what was differentiated last."""
        if isinstance(returned, dict):
            named = {key: value for key, value in returned.items() if "loss" in str(key)}
            returned = list((named or returned).values())
        items = returned if isinstance(returned, tuple | list) else [returned]
        numbers = [item for item in items if _is_number(item)]
        seen = self.watch.losses[-1:]
        if seen:  # not the accuracy, nor a sum over the batch
            right = float(seen[0])
            near = 1e-3 * abs(right)
            others = [n for n in numbers if not abs(float(n) - right) > near]
            self.returns_other = bool(numbers) and not others
            self.returned = numbers
            numbers = others or seen
        if not numbers:
            return None
        loss = numbers[0]
        if isinstance(loss, float):  # which has lost its dtype
            loss = torch.tensor(loss, dtype=self.dtype)
        return to_numpy(loss).reshape(())

    def _loop_name(self) -> str:
        return getattr(self.found.loop, "__name__", "the loop")

    def _run_loop(self, images: Any, labels: Any, epochs: int, batch_size: int) -> Any:
        loop = self.found.loop
        if loop is None:
            raise NotObservable(f"{self.found.step_name} takes no batches")
        data = torch.utils.data.TensorDataset(images, labels)
        loader = torch.utils.data.DataLoader(data, batch_size)
        given = {**self._given(), "images": images, "labels": labels, "loader": loader}
        given |= {"data": loader, "dataset": data, "epochs": epochs, "batch_size": batch_size}
        taken = roles(loop)
        if "images" in taken.values() and "labels" not in taken.values():
            raise NotObservable(f"{self._loop_name()} takes images and no labels")
        returned = None
        for epoch in range(1 if "epochs" in taken.values() else epochs):
            given["epoch"] = epoch
            returned = call(loop, fill(loop, given, self.found.names, ("model", "loader")))
        return returned


def _is_number(item: Any) -> bool:
    if isinstance(item, torch.Tensor):
        return item.numel() == 1 and item.is_floating_point()
    if isinstance(item, np.ndarray | np.floating):
        return bool(item.size == 1) and np.issubdtype(item.dtype, np.floating)
    return isinstance(item, float)


def to_numpy(tensor: Any) -> np.ndarray:
    if isinstance(tensor, torch.Tensor):
        tensor = tensor.detach().cpu().numpy()
    return np.array(tensor)
