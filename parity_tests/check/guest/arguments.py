"""Calling a function of theirs: which argument is the model, which the images."""

import inspect
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch

from parity_tests.check.guest.modules import call_module
from parity_tests.check.messages import NotObservable

ROLES = {
    "model": "model net network module mlp nn_model classifier",
    "images": "images image x xb xs inputs input features imgs img pixels x_batch batch_x "
    "images_batch batch_images x_train train_images images_train train_x input_batch",
    "labels": "labels label y yb ys t targets target y_batch batch_y labels_batch batch_labels "
    "y_train train_labels labels_train train_y targets_batch y_true",
    "batch": "batch sample batch_data",
    "loader": "loader dataloader data_loader train_loader trainloader train_dataloader "
    "train_data_loader train_dl dl batches train_iter training_loader",
    "data": "data train_data training_data",
    "dataset": "dataset train_dataset train_set trainset training_set",
    "optimizer": "optimizer optim opt sgd optimiser trainer",
    "criterion": "criterion loss_fn loss_func loss_function loss_fun lossfn loss crit objective",
    "epochs": "epochs num_epochs n_epochs nepochs max_epochs",
    "epoch": "epoch epoch_index epoch_idx",
    "batch_size": "batch_size bs batchsize",
    "folder": "folder root path data_dir data_path directory dir data_root",
    "dtype": "dtype",
    "device": "device dev",
    "weights": "weights params parameters",
    "gradients": "gradients grads gradient",
}
"""By role, the names that an argument of this role is given."""

OF_NAME = {name: role for role, names in ROLES.items() for name in names.split()}


class Batch(tuple):
    """Images and labels, to be unpacked, or asked for by names such as "image" and "label"."""

    def __getitem__(self, key: Any) -> Any:
        """Return a part by its place, or by a name of its role."""
        if not isinstance(key, str):
            return super().__getitem__(key)
        role = OF_NAME.get(key.lower(), "")
        if role not in ("images", "labels"):
            raise KeyError(key)
        return super().__getitem__(("images", "labels").index(role))


def roles(function: Callable) -> dict[str, str]:
    """Return the role of each argument that a function takes, by its name; "" if unknown."""
    parameters = inspect.signature(function).parameters.values()
    plain = [p for p in parameters if p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)]
    found = {p.name: _role(p.name.lower().strip("_")) for p in plain}
    for p in plain:  # what its annotation says goes further than its name
        kind = getattr(p.annotation, "__name__", str(p.annotation))
        for word, role in (
            ("DataLoader", "loader"),
            ("Dataset", "dataset"),
            ("Optimizer", "optimizer"),
        ):
            if kind.endswith(word):
                found[p.name] = role
    if "data" in found.values() and "labels" in found.values():  # such as data, target
        found = {name: "images" if role == "data" else role for name, role in found.items()}
    return found


def _role(name: str) -> str:
    """Return the role of an argument, by its whole name or by how it begins."""
    if name not in OF_NAME:
        for beginning, role in (("x_", "images"), ("y_", "labels"), ("target", "labels")):
            if name.startswith(beginning):
                return role
    return OF_NAME.get(name, "")


def fill(
    function: Callable, given: Mapping[str, Any], names: Mapping[str, Any], order: tuple[str, ...]
) -> dict[str, Any]:
    """Return the arguments of a call, by name.

    Args:
        function: Theirs.
        given: What there is, by role.
        names: What the file holds, for arguments of no role.
        order: The roles of the last arguments, if their names tell nothing.

    Raises:
        NotObservable: If it is not clear what an argument is.
    """
    parameters = inspect.signature(function).parameters
    found = roles(function)
    required = [name for name in found if parameters[name].default is inspect.Parameter.empty]
    known = {found[name] for name in required}
    brings_data = not known.isdisjoint(
        {"labels", "batch", "loader", "data", "dataset", "gradients"}
    )
    unknown = [
        name
        for name in required  # what the file holds under the name may be an old batch
        if found[name] not in given and not (brings_data and name in names)
    ]
    left = [role for role in order if role not in known]
    if unknown and len(unknown) <= len(left):
        found |= dict(zip(unknown, left[-len(unknown) :], strict=True))
    filled = {}
    for name, role in found.items():
        if role in given:
            filled[name] = given[role]
        elif name in required and name in names:
            filled[name] = names[name]
        elif name in required:
            where = getattr(function, "__name__", "the function")
            raise NotObservable(
                f"{where} takes an argument {name}, and the file has nothing that it could be: "
                f"give it a default, or make it in the file under this name"
            )
    return filled


def call(function: Callable, filled: Mapping[str, Any]) -> Any:
    """Call a function with arguments by name, also where they are positional only."""
    parameters = inspect.signature(function).parameters
    positional = [n for n, p in parameters.items() if p.kind is p.POSITIONAL_ONLY and n in filled]
    others = {name: value for name, value in filled.items() if name not in positional}
    return function(*(filled[name] for name in positional), **others)


def usual_step(names: Mapping[str, Any]) -> Callable[..., Any] | None:
    """Return the usual training step of a file that has a loss and an optimizer, but none."""
    kinds = torch.nn.modules.loss._Loss
    named = [value for name, value in names.items() if OF_NAME.get(name) == "criterion"]
    losses = [value for value in named if callable(value) and not inspect.isclass(value)]
    losses += [value for value in names.values() if isinstance(value, kinds)]
    optimizers = [v for v in names.values() if isinstance(v, torch.optim.Optimizer)]
    if not losses or not optimizers:
        return None

    def training_step(model: Any, images: Any, labels: Any) -> Any:
        optimizers[0].zero_grad()
        value = losses[0](call_module(model, *several(images)), labels)
        value.backward()
        optimizers[0].step()
        return value

    return training_step


def brought(names: Mapping[str, Any]) -> tuple[list[Any], list[Any]] | None:
    """Return inputs and targets that the file brings; None if it brings none."""
    if callable(batch := names.get("batch")) and not inspect.signature(batch).parameters:
        found = batch()
    else:
        found = names.get("inputs"), names.get("targets")
    if not isinstance(found, tuple | list) or len(found) != 2:
        return None
    inputs, targets = (several(item) for item in found)
    arrays = all(isinstance(a, torch.Tensor | np.ndarray) for a in (*inputs, *targets))
    return (inputs, targets) if arrays else None


def several(item: Any) -> list[Any]:
    """Return the items of a list or a tuple; of another one, itself."""
    return list(item) if isinstance(item, tuple | list) else [item]


def first_number(returned: Any) -> float | None:
    """Return the first number among what a step returned, its loss; None if there is none."""
    if isinstance(returned, dict):
        named = [value for key, value in returned.items() if "loss" in str(key)]
        returned = named or list(returned.values())
    for item in returned if isinstance(returned, list | tuple) else [returned]:
        if isinstance(item, float | np.floating):
            return float(item)
        if isinstance(item, torch.Tensor) and item.numel() == 1:
            return float(item)
    return None
