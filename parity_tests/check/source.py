"""A user's file before it is run: read, parsed, and searched for a training step."""

import ast
import difflib
import io
import json
import tokenize
from collections.abc import Iterator, Mapping
from pathlib import Path

from parity_tests.check.messages import UnusablePort

STEPS = (
    "one_training_step",
    "training_step",
    "train_step",
    "train_one_step",
    "train_one_batch",
    "train_on_batch",
    "train_batch",
    "one_step",
    "step",
)
"""Names of a function that trains on one batch, the usual ones first."""

LOOPS = (
    "fit",
    "train",
    "train_loop",
    "training_loop",
    "train_model",
    "train_one_epoch",
    "train_epoch",
)
"""Names of a function that trains on many batches."""

LARGEST = 10_000_000
"""Bytes of a file that is read at all."""

REPEATED = (ast.For, ast.While)

CALLS = {"backward", "grad", "value_and_grad", "grad_and_value", "step"}
"""What code calls that takes gradients or has an optimizer make a step."""


def parse(path: Path) -> ast.Module:
    """Return the code of a Python file or of a notebook.

    What only a notebook can run is left out: magics, and calls of `get_ipython`.

    Raises:
        UnusablePort: If it is not Python.
    """
    kind = "a notebook" if path.suffix == ".ipynb" else "Python"
    if (size := path.stat().st_size) > LARGEST:
        raise UnusablePort(f"{path} has {size:,} bytes: expected a file of up to {LARGEST:,}")
    try:
        lines = _notebook(path) if path.suffix == ".ipynb" else _lines(path)
        tree = ast.parse("".join(lines), str(path))
        ast.unparse(tree)  # as parts of it will be
    except (RecursionError, MemoryError) as error:
        raise UnusablePort(f"{path} is not {kind}: it is nested too deeply") from error
    except (UnicodeDecodeError, SyntaxError) as error:
        raise UnusablePort(f"{path} is not Python: {_reason(error)}") from error
    except (ValueError, TypeError, LookupError) as error:
        raise UnusablePort(f"{path} is not {kind}: {' '.join(str(error).split())}") from error
    tree.body = [node for node in tree.body if "get_ipython()" not in _called(node)]
    return tree


def _lines(path: Path) -> list[str]:
    with tokenize.open(path) as file:  # in the encoding that its first lines name
        return list(file)


def _notebook(path: Path) -> list[str]:
    lines = []
    for cell in json.loads(path.read_text("utf-8"))["cells"]:
        if cell["cell_type"] == "code":
            source = io.StringIO("".join(cell["source"])).readlines()
            if source and source[0].startswith("%%") and not source[0].startswith("%%time"):
                continue  # a cell of another language
            kept: list[str] = []
            for line in source:
                magic = line.lstrip().startswith(("%", "!", "?"))
                if not magic or _continues(kept):
                    kept.append(line)
            lines += [*kept, "\n"]
    return lines


def _continues(lines: list[str]) -> bool:
    """Return whether a next line would go on with the statement of the last one."""
    try:
        for _ in tokenize.generate_tokens(iter(lines).__next__):
            pass
    except tokenize.TokenError:
        return True
    except (SyntaxError, StopIteration):
        return False
    return False


def _reason(error: UnicodeDecodeError | SyntaxError) -> str:
    if isinstance(error, UnicodeDecodeError):
        return "it is not UTF-8; save it as UTF-8"
    place = f" (line {error.lineno})" if error.lineno else ""
    if (error.text or "").lstrip().startswith(("%", "!")):
        return f"a notebook's magic{place}; leave the line out, or check the notebook itself"
    if "encoding" in error.msg:
        return "it is not UTF-8, and its first lines name no encoding; save it as UTF-8"
    return f"{error.msg}{place}"


def _called(node: ast.stmt) -> str:
    """Return the source of a statement that is no more than a call; "" of another."""
    return ast.unparse(node) if isinstance(node, ast.Expr) else ""


def functions(tree: ast.Module) -> dict[str, ast.FunctionDef]:
    """Return the functions and the methods of a file, by name."""
    return {node.name: node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}


def trains(node: ast.AST) -> bool:
    """Return whether code takes gradients or has an optimizer make a step."""
    return not _names_called(node).isdisjoint(CALLS)


def loops(node: ast.AST) -> bool:
    """Return whether code repeats what trains: a loop over batches."""
    return any(trains(part) for part in ast.walk(node) if isinstance(part, REPEATED))


def is_loop(name: str, defined: Mapping[str, ast.FunctionDef]) -> bool:
    """Return whether a function trains on many batches: by its name, if not by its code."""
    node = defined.get(name)
    if node is None:
        return name in LOOPS
    at_once = trains(node) and not any(isinstance(part, REPEATED) for part in ast.walk(node))
    return loops(node) or (name in LOOPS and not at_once)


def steps(tree: ast.Module) -> Iterator[str]:
    """Yield the names that may be a training step, the likeliest first; then those of loops."""
    defined = functions(tree)
    imported = {
        alias.asname or alias.name
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    known = {*imported, *(STEPS if "*" in imported else ())}
    known |= {name for name, node in defined.items() if _takes_data(node)}
    usual = [name for name in STEPS if name in known]
    training = _training(defined)
    idle = [name for name in usual if name in defined and name not in training]
    yield from (name for name in usual if name not in idle)
    others = [name for name in training if name not in STEPS and _takes_data(defined[name])]
    yield from sorted(others, key=lambda name: is_loop(name, defined))
    yield from (name for name in training if not _takes_data(defined[name]))
    yield from idle  # such as a step that only returns the loss, to a loop that trains


def _takes_data(node: ast.FunctionDef) -> bool:
    """Return whether a function takes more than itself, as a step needs to."""
    return len([a for a in (*node.args.posonlyargs, *node.args.args) if a.arg != "self"]) > 0


def _training(defined: dict[str, ast.FunctionDef]) -> dict[str, ast.FunctionDef]:
    """Return the functions that train, by themselves or by calling another that does."""
    found = {name: node for name, node in defined.items() if trains(node)}
    while True:
        calling = {
            name: node
            for name, node in defined.items()
            if name not in found and not found.keys().isdisjoint(_names_called(node))
        }
        if not calling:
            return found
        found |= calling


def _names_called(node: ast.AST) -> set[str]:
    calls = (call.func for call in ast.walk(node) if isinstance(call, ast.Call))
    return {getattr(function, "attr", getattr(function, "id", "")) for function in calls}


def nearest(name: str, names: list[str]) -> str:
    """Return what to say of the names that come closest to one."""
    close = difflib.get_close_matches(name, names, cutoff=0.5)
    return f" (there is {', '.join(close)})" if close else ""
