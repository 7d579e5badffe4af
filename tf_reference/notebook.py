"""The book's section as a notebook, made of the package's own source, with what it prints."""

import ast
import contextlib
import difflib
import io
import json
import math
import os
import re
from collections.abc import Iterator
from pathlib import Path
from string import Template
from typing import Any

from tqdm import tqdm

FRAMEWORKS = {"tf_reference": "TensorFlow", "torch_port": "PyTorch"}
"""By package; each package is the other's twin."""

OUTLINE = Template("""\
# The engine of neural networks: gradient-based optimization
The section of *Deep Learning with Python*, 2nd edition, chapter 2, in $framework. Every definition
is the source of `$package`. Where the twin in $other has other lines, they come next: minus is
$other, plus is $framework.

## Derivative of a tensor operation: the gradient

show gradients: scalar_gradient matrix_gradient

print(scalar_gradient())
print(matrix_gradient())

## Chaining derivatives: the Backpropagation algorithm

show gradients: dense_gradients computation_graph kinks walk_through _text

walk_through()

# Looking back at our first example

from $package import load_mnist
(train_images, train_labels), (test_images, test_labels) = load_mnist($data)
print(train_images.shape, test_images.shape)

show first_example: Dense Sequential glorot_uniform mnist_model fit

model = mnist_model(seed=0)
history = fit(model, train_images, train_labels, $first_epochs, $batch_size)

# Reimplementing our first example from scratch in $framework

## A simple Dense class

show layers: NaiveDense

## A simple Sequential class

show layers: NaiveSequential mnist_model

model = mnist_model(seed=0)
print([tuple(weight.shape) for weight in model.weights])

## A batch generator

show training: BatchGenerator

## Running one training step

show losses: sparse_categorical_crossentropy

show optimizers: UpdateRule update_weights SGD

show training: one_training_step

## The full training loop

show training: fit

fit(model, train_images, train_labels, $epochs, $batch_size)

## Evaluating the model

show evaluation: predict evaluate

print(f"accuracy: {evaluate(model, test_images, test_labels):.2f}")
""")
"""Paragraphs: prose, the definitions of a module that are shown, or what is done with them."""


def make_notebook(path: Path, data: Path, epochs: int, batch_size: int, run: bool) -> bytes:
    """Return a notebook of the section, as JSON.

    Args:
        path: Of the notebook, from whose folder `data` is sought when its cells are run.
        data: Folder that holds MNIST in MNIST/raw.
        epochs: Of the network from scratch; the first example trains half as many.
        batch_size: Images in a batch.
        run: Whether to run the cells, so that the notebook holds what they print.
    """
    package = __package__ or ""
    (twin,) = FRAMEWORKS.keys() - {package}
    outline = OUTLINE.substitute(
        package=package,
        framework=FRAMEWORKS[package],
        other=FRAMEWORKS[twin],
        data=repr(os.path.relpath(data, path.parent)),
        epochs=f"epochs={epochs}",
        first_epochs=f"epochs={math.ceil(epochs / 2)}",
        batch_size=f"batch_size={batch_size}",
    )
    cells = list(_cells(outline.strip(), package, twin))
    if run:
        with contextlib.chdir(path.parent):
            _run(cells)
    for index, cell in enumerate(cells):
        cell |= {"id": f"cell-{index}", "metadata": {}}
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    notebook = {"nbformat": 4, "nbformat_minor": 5, "metadata": {"kernelspec": kernel}}
    return (json.dumps({**notebook, "cells": cells}, indent=1) + "\n").encode()


def _cells(outline: str, package: str, twin: str) -> Iterator[dict[str, Any]]:
    known: set[str] = set()
    for paragraph in outline.split("\n\n"):
        shown = re.fullmatch(r"show (\w+): (.*)", paragraph)
        if paragraph.startswith("#"):
            yield {"cell_type": "markdown", "source": paragraph}
        elif not shown:
            yield _code_cell(paragraph)
        else:
            module, names = shown[1], shown[2].split()
            code, of_twin = (_definitions(owner, module, names) for owner in (package, twin))
            yield _code_cell("\n".join([*_imports(package, module, code, known), "", "", code]))
            if lines := _differing_lines(of_twin, code):
                yield {"cell_type": "markdown", "source": f"```diff\n{lines}\n```"}


def _code_cell(code: str) -> dict[str, Any]:
    return {"cell_type": "code", "source": code.strip(), "execution_count": None, "outputs": []}


def _source(package: str, module: str) -> str:
    """Return the source of a module; what it takes from a whole module, the notebook shows."""
    source = (Path(__file__).parents[1] / package / f"{module}.py").read_text()
    for shown in re.findall(r"^from \. import (\w+)$", source, re.MULTILINE):
        source = source.replace(f"{shown}.", "")
    return source


def _definitions(package: str, module: str, names: list[str]) -> str:
    """Return some of a module's definitions, in its order."""
    source = _source(package, module)
    found = [
        ast.get_source_segment(source, node) or ""
        for node in ast.parse(source).body
        if not _names(node).isdisjoint(names)
    ]
    return "\n\n\n".join(found)


def _names(node: ast.stmt) -> set[str]:
    """Return the names that a statement at the top of a module defines or imports."""
    if isinstance(node, ast.Import | ast.ImportFrom):
        return {(alias.asname or alias.name).split(".")[0] for alias in node.names}
    if isinstance(node, ast.ClassDef | ast.FunctionDef):
        return {node.name}
    targets = getattr(node, "targets", [getattr(node, "target", None)])
    return {target.id for target in targets if isinstance(target, ast.Name)}


def _imports(package: str, module: str, code: str, known: set[str]) -> Iterator[str]:
    """Yield a line for each name that code needs, and that no cell has so far."""
    used = {node.id for node in ast.walk(ast.parse(code)) if isinstance(node, ast.Name)}
    known |= {name for node in ast.parse(code).body for name in _names(node)}
    for node in ast.parse(_source(package, module)).body:
        needed = (_names(node) & used) - known
        known |= needed
        if isinstance(node, ast.Import) and needed:
            yield ast.unparse(node)
        elif isinstance(node, ast.ImportFrom) and needed:
            owner = f"{package}.{node.module}" if node.level else node.module
            yield f"from {owner} import {', '.join(sorted(needed))}"
        elif needed:
            yield f"from {package}.{module} import {', '.join(sorted(needed))}"


def _differing_lines(of_twin: str, code: str) -> str:
    lines = difflib.unified_diff(of_twin.splitlines(), code.splitlines(), lineterm="", n=0)
    return "\n".join(line for line in list(lines)[2:] if not line.startswith("@@"))


def _run(cells: list[dict[str, Any]]) -> None:
    """Run the code of all cells, as a kernel does, and keep what each prints."""
    names: dict[str, Any] = {"__name__": "__main__"}
    code_cells = [cell for cell in cells if cell["cell_type"] == "code"]
    for count, cell in enumerate(tqdm(code_cells, unit="cell", disable=None), 1):
        with contextlib.redirect_stdout(io.StringIO()) as printed:
            exec(cell["source"], names)  # noqa: S102 (it is this package's own source)
        cell["execution_count"] = count
        if text := printed.getvalue():
            cell["outputs"] = [{"output_type": "stream", "name": "stdout", "text": text}]
