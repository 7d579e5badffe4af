"""The notebooks: they run in a kernel, and are the packages' own source."""

import json
import re
from pathlib import Path

import nbclient
import nbformat
import pytest

from parity_tests.program import notebook
from parity_tests.program.frameworks import FRAMEWORKS

FEW_STEPS = ("--epochs", 1, "--batch-size", 10_000)


def outputs(held):
    """Return what each code cell of a notebook has printed on standard output."""
    cells = [cell for cell in held.cells if cell.cell_type == "code"]
    return [
        "".join(output.text for output in cell.outputs if output.name == "stdout") for cell in cells
    ]


@pytest.mark.sampled(2)
def test_a_notebook_runs_in_a_kernel_from_the_first_cell_to_the_accuracy(
    command, package, tmp_path
):
    path = tmp_path / "book.ipynb"
    assert command("notebook", path, *FEW_STEPS, "--no-run")[0] == 0
    held = nbformat.read(path, as_version=4)
    nbformat.validate(held)
    assert not any(outputs(held))
    nbclient.NotebookClient(held, resources={"metadata": {"path": tmp_path}}).execute()
    *_, trained, evaluated = filter(None, outputs(held))
    gradients = package.gradients
    assert f"{gradients.computation_graph()}\n{gradients.kinks()}\n" in outputs(held)
    assert trained.startswith("Epoch 0\nloss at batch 0: ")
    assert re.fullmatch(r"accuracy: 0\.\d\d\n", evaluated)


def test_cells_are_run_one_after_the_other_and_hold_what_they_print():
    sources = ("x = 1", "print(x + 1)")
    cells = [notebook._code_cell(source) for source in sources]
    notebook._run([cells[0], {"cell_type": "markdown", "source": "# x"}, cells[1]])
    assert [cell["execution_count"] for cell in cells] == [1, 2]
    assert cells[0]["outputs"] == []
    assert cells[1]["outputs"][0]["text"] == "2\n"


@pytest.fixture
def cells(package, tmp_path):
    """The cells of a notebook that was not run."""
    path = tmp_path / "book.ipynb"
    notebook.notebook(FRAMEWORKS[package.__name__], path, run=False)
    return json.loads(path.read_text())["cells"]


def test_a_notebook_shows_each_part_of_the_section_from_the_source_of_the_package(cells, package):
    headings = [cell["source"] for cell in cells if cell["source"].startswith("#")]
    assert any("Looking back at our first example" in heading for heading in headings)
    assert any("The full training loop" in heading for heading in headings)
    code = "\n".join(cell["source"] for cell in cells if cell["cell_type"] == "code")
    folder = Path(package.__file__).parent
    step = (folder / "training.py").read_text().split("gradients = ")[1].split("\n\n")[0]
    loss = (folder / "losses.py").read_text().split("import")[-1].split("\n\n", 1)[1].strip()
    assert step in code
    assert loss in code


def test_the_lines_of_the_twin_that_differ_follow_a_definition(cells):
    shown = [index for index, cell in enumerate(cells) if "def one_training_step" in cell["source"]]
    _, from_scratch = shown
    lines = cells[from_scratch + 1]["source"].splitlines()
    sign = "+" if any("autograd" in line and line[0] == "+" for line in lines) else "-"
    assert f"{sign}    gradients = torch.autograd.grad(average_loss, model.weights)" in lines
    assert not any("def one_training_step" in line for line in lines)
