"""What a file holds, as functions of arrays: its model, its step, its loop, its data."""

import functools
import inspect
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch

from parity_tests.ports.arguments import OF_NAME, call, fill, roles
from parity_tests.ports.find import Found
from parity_tests.ports.forms import FORMS
from parity_tests.ports.messages import NotObservable
from parity_tests.ports.model import Loose, outputs, tensors
from parity_tests.ports.watch import Watch, held_gradient

BATCH = ("model", "images", "labels")
DATA = {"images", "labels", "loader", "data", "dataset"}
"""Roles of arguments that bring data."""


class FoundPort:
    """A model of a file, and what else the file holds.

    Args:
        found: What the file holds.
        watch: Sees its gradients.
        model: Its model.
        dtype: Of the weights and the images.
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

    def describe(self) -> dict[str, Any]:
        """Return the shapes of the weights by name, and how the model is made."""
        layers = getattr(self.model, "layers", ())
        of_book = isinstance(self.model, self.found.names.get("NaiveSequential", ()))
        module = isinstance(self.model, torch.nn.Module)
        named = self.model.named_modules() if module else ()
        return {
            "makes optimizer": self.made is None,
            "shapes": {name: list(w.shape) for name, w in self.first.items()},
            "linear": [  # which stores a kernel as (outputs, inputs)
                ".".join(filter(None, [name.removeprefix("_orig_mod"), "weight"])).removeprefix(".")
                for name, part in named
                if isinstance(part, torch.nn.Linear)
            ],
            "layers": len(layers) if of_book else 0,
        }

    def _input(self, array: np.ndarray) -> Any:
        return torch.tensor(array).to(self.device)

    def _batch(self, arrays: Mapping[str, np.ndarray], form: str) -> tuple[Any, Any]:
        images, labels = FORMS[form](arrays["images"], arrays["labels"])
        return self._input(images), self._input(labels)

    def load_weights(self, arrays: dict) -> tuple[dict, dict]:
        """Replace the weights."""
        tensors = self._tensors()
        for name, array in arrays.items():
            tensors[name].data.copy_(self._input(array))
        return {}, {}

    def first_weights(self, arrays: dict) -> tuple[dict, dict]:
        """Return the weights that the model was made with."""
        return {}, self.first

    def weights(self, arrays: dict) -> tuple[dict, dict]:
        """Return the weights."""
        return {}, {name: to_numpy(w) for name, w in self._tensors().items()}

    def outputs(self, arrays: dict, form: str) -> tuple[dict, dict]:
        """Return what the model makes of images."""
        images = self._batch({**arrays, "labels": np.zeros(len(arrays["images"]), int)}, form)[0]
        with torch.no_grad():
            return {}, {"outputs": to_numpy(outputs(self.model, images))}

    def layer_output(self, arrays: dict, index: int) -> tuple[dict, dict]:
        """Return what one of the layers makes of its inputs."""
        return {}, {"outputs": to_numpy(self.model.layers[index](self._input(arrays["inputs"])))}

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

    def _take(self, step: Callable, images: Any, labels: Any) -> Any:
        """Call the step, or what stands in its place, with a batch."""
        given = {**self._given(), "images": images, "labels": labels, "batch": (images, labels)}
        return call(step, fill(step, given, self.found.names, BATCH))

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

    def loop(
        self, arrays: dict, form: str, epochs: int, batch_size: int, own: bool
    ) -> tuple[dict, dict]:
        """Run the loop, their own or a plain one around the step; return each loss."""
        losses: list[np.ndarray] = []
        self.watch.start(list(self._tensors().values()))
        right = self.found.step

        @functools.wraps(right or call)
        def step(*arguments: Any, **options: Any) -> Any:
            assert right is not None
            returned = right(*arguments, **options)
            if (loss := self._loss(returned)) is not None:
                losses.append(loss)
            return returned

        # Where the loop looks the step up.
        owner = getattr(self.found.loop, "__globals__", self.found.names)
        replaced = owner.get(self.found.step_name) if right else None
        if replaced is not None:
            owner[self.found.step_name] = step
        try:
            run = self._run_loop if own else self._run_steps
            run(*self._batch(arrays, form), epochs, batch_size)
        finally:
            if replaced is not None:
                owner[self.found.step_name] = replaced
        seen = losses or [to_numpy(loss) for loss in self.watch.losses]
        if not seen:
            raise NotObservable(f"{self._loop_name()} never called {self.found.step_name}")
        return {}, {"losses": np.array(seen)}

    def _loop_name(self) -> str:
        return getattr(self.found.loop, "__name__", "the loop")

    def why_no_loop(self, arrays: dict, form: str) -> tuple[dict, dict]:
        """Return why the loop cannot be judged, tried on one batch; "" if it can."""
        loop, name = self.found.loop, self._loop_name()
        if loop is None:
            named = "BatchGenerator" in self.found.names and self.found.step is not None
            return {"why": "" if named else "the file has no loop such as fit"}, {}
        taken = set(roles(loop).values())
        if not taken & DATA:
            return {"why": f"{name} brings its own data, order and batch size"}, {}
        if not taken & {"loader", "data", "batch_size"}:
            return {"why": f"{name} sets its own batch size"}, {}
        self.watch.start(list(self._tensors().values()))
        self._run_loop(*self._batch(arrays, form), 1, len(arrays["images"]))
        if len(self.watch.losses) > 1:
            return {"why": f"{name} sets its own number of epochs"}, {}
        return {"why": "", "given batches": "images" not in taken}, {}

    def _run_loop(self, images: Any, labels: Any, epochs: int, batch_size: int) -> Any:
        loop = self.found.loop
        if loop is None:
            return self._run_batches(images, labels, epochs, batch_size)
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

    def _run_steps(self, images: Any, labels: Any, epochs: int, batch_size: int) -> None:
        step = self.found.names.get(self.found.step_name, self.found.step)
        if self.found.step is None or step is None:
            raise NotObservable(f"{self.found.step_name} takes no batches one by one")
        for _ in range(epochs):
            for start in range(0, len(images), batch_size):
                batch = slice(start, start + batch_size)
                self._take(step, images[batch], labels[batch])

    def _run_batches(self, images: Any, labels: Any, epochs: int, batch_size: int) -> None:
        make, step = self.found.names["BatchGenerator"], self.found.names[self.found.step_name]
        given = {"images": images, "labels": labels, "batch_size": batch_size}
        for _ in range(epochs):
            batches = call(make, fill(make, given, self.found.names, ("images", "labels")))
            for _ in range(batches.num_batches):
                self._take(step, *batches.next())

    def data(self, arrays: dict, folder: str) -> tuple[dict, dict]:
        """Return what `load_mnist` loads: images and labels, of the training and the test set."""
        load_mnist = self.found.names["load_mnist"]
        dtype = str(self.dtype).removeprefix("torch.")
        given = {"folder": folder, "dtype": dtype, "device": torch.device(self.device)}
        sets = call(load_mnist, fill(load_mnist, given, self.found.names, ("folder",)))
        flat = [a for part in sets for a in (part if isinstance(part, tuple | list) else [part])]
        if len(flat) != 4 or not all(hasattr(array, "shape") for array in flat):
            raise NotObservable("load_mnist returns no four arrays: images and labels, twice")
        names = "training images", "training labels", "test images", "test labels"
        found = dict(zip(names, map(to_numpy, flat), strict=True))
        for name in names[::2]:
            found[name] = found[name].reshape(len(found[name]), -1)
        return {"dtype": "dtype" in roles(load_mnist).values()}, found


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
