"""The notebooks: they run in a kernel, print what they hold, and are the packages' own source."""

import importlib
import json
from pathlib import Path

import nbclient
import nbformat
import pytest

FEW_STEPS = ("--epochs", 1, "--batch-size", 10_000)


def outputs(notebook):
    """Return what each code cell has printed on standard output."""
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    return [
        "".join(output.text for output in cell.outputs if output.name == "stdout") for cell in cells
    ]


def test_a_notebook_prints_in_a_kernel_what_it_holds(command, package, tmp_path):
    path = tmp_path / "book.ipynb"
    assert command("notebook", path, *FEW_STEPS)[0] == 0
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    held = outputs(notebook)
    nbclient.NotebookClient(notebook, resources={"metadata": {"path": tmp_path}}).execute()
    assert outputs(notebook) == held
    assert "grad(loss, w) = grad(loss, x2) * grad(x2, x1) * grad(x1, w)" in "".join(held)
    assert held[-1].startswith("accuracy: 0.")


@pytest.fixture
def cells(package, tmp_path):
    """The cells of a notebook that was not run."""
    make_notebook = importlib.import_module(f"{package.__name__}.notebook").make_notebook
    content = make_notebook(tmp_path / "book.ipynb", Path("data"), 10, 128, run=False)
    return json.loads(content)["cells"]


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
    (first,) = shown
    lines = cells[first + 1]["source"].splitlines()
    sign = "+" if any("autograd" in line and line[0] == "+" for line in lines) else "-"
    assert f"{sign}    gradients = torch.autograd.grad(average_loss, model.weights)" in lines
    assert not any("def one_training_step" in line for line in lines)
