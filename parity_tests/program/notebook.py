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

from parity_tests.program import files
from parity_tests.program.frameworks import PACKAGES, Framework, Twin
from parity_tests.program.options import BatchSize, Epochs

TITLES = {"tf": "TensorFlow", "torch": "PyTorch"}

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

show gradients: dense_gradients computation_graph kinks

print(computation_graph())
print(kinks())

# Looking back at our first example

from $package import load_mnist
(train_images, train_labels), (test_images, test_labels) = load_mnist($data)
print(train_images.shape, test_images.shape)

show first_example: Dense Sequential glorot_uniform mnist_model one_training_step fit

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


def notebook(
    framework: Framework,
    /,
    file: Path,
    *,
    epochs: Epochs = 10,
    batch_size: BatchSize = 128,
    run: bool = True,
    data: Path = Path("data"),
) -> None:
    """Write the book's section as a notebook, made of a package's source.

    Args:
        framework: Whose package is shown, beside the lines in which its twin differs.
        file: The notebook to write, in .ipynb; its cells seek MNIST from its folder.
        epochs: Passes over the training images; the first example makes half as many.
        batch_size: Images in a batch.
        run: Run the cells, so that the notebook holds what they print.
        data: Folder that holds MNIST in MNIST/raw.
    """
    if run:
        Twin(framework)  # or a sentence says what to install
    files.check_outputs([file])
    other: Framework = "tf" if framework == "torch" else "torch"
    package, twin = PACKAGES[framework][0], PACKAGES[other][0]
    outline = OUTLINE.substitute(
        package=package,
        framework=TITLES[framework],
        other=TITLES[other],
        data=repr(os.path.relpath(data, file.parent)),
        epochs=f"epochs={epochs}",
        first_epochs=f"epochs={math.ceil(epochs / 2)}",
        batch_size=f"batch_size={batch_size}",
    )
    cells = list(_cells(outline.strip(), package, twin))
    if run:
        with contextlib.chdir(file.parent):
            _run(cells)
    for index, cell in enumerate(cells):
        cell |= {"id": f"cell-{index}", "metadata": {}}
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    written = {"nbformat": 4, "nbformat_minor": 5, "metadata": {"kernelspec": kernel}}
    files.write_whole(file, (json.dumps({**written, "cells": cells}, indent=1) + "\n").encode())


def _cells(outline: str, package: str, twin: str) -> Iterator[dict[str, Any]]:
    """Yield the cells; the first of code imports what no other defines."""
    modules = dict.fromkeys(re.findall(r"^show (\w+):", outline, re.MULTILINE))
    needed = "\n".join(f"from {package}.{module} import *" for module in modules)
    for paragraph in outline.replace("\n\n", f"\n\n{needed}\n\n", 1).split("\n\n"):
        shown = re.fullmatch(r"show (\w+): (.*)", paragraph)
        if paragraph.startswith("#"):
            yield {"cell_type": "markdown", "source": paragraph}
        elif not shown:
            yield _code_cell(paragraph)
        else:
            module, names = shown[1], shown[2].split()
            code, of_twin = (_definitions(owner, module, names) for owner in (package, twin))
            yield _code_cell(code)
            diff = difflib.unified_diff(of_twin.splitlines(), code.splitlines(), lineterm="", n=0)
            if lines := [line for line in list(diff)[2:] if not line.startswith("@@")]:
                text = "\n".join(["```diff", *lines, "```"])
                yield {"cell_type": "markdown", "source": text}


def _code_cell(code: str) -> dict[str, Any]:
    return {"cell_type": "code", "source": code.strip(), "execution_count": None, "outputs": []}


def _definitions(package: str, module: str, names: list[str]) -> str:
    """Return some of a module's definitions; what they take from a whole module, the cells show."""
    source = (Path(__file__).parents[2] / package / f"{module}.py").read_text()
    for whole in re.findall(r"^from \. import (\w+)$", source, re.MULTILINE):
        source = source.replace(f"{whole}.", "")
    found = []
    for node in ast.parse(source).body:
        targets = getattr(node, "targets", [getattr(node, "target", node)])
        if any(getattr(target, "id", getattr(target, "name", "")) in names for target in targets):
            found.append(ast.get_source_segment(source, node) or "")
    return "\n\n\n".join(found)


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
