"""What the file of a port holds: a model, a step that trains it, and a loop."""

import ast
import inspect
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from parity_tests.check.guest import source
from parity_tests.check.guest.find import find_models, function_of, has_instances, optimizers
from parity_tests.check.messages import UnusablePort
from parity_tests.ports.main_program import prepare


@dataclass
class Found:
    """What is judged of a file.

    Attributes:
        names: What the file holds, by name, and what its main program would make.
        models: By a description; more than one where it is not clear how to build it.
        step: Trains on a batch; None if only a loop does.
        step_name: Its name, or that of the loop.
        loop: Trains on many batches; None if there is none.
        built: Whether the model has to be built, since the file has made none.
        notes: What was chosen, in sentences.
    """

    names: dict[str, Any]
    models: dict[str, Any] = field(default_factory=dict)
    step: Callable | None = None
    step_name: str = ""
    loop: Callable | None = None
    built: bool = False
    notes: list[str] = field(default_factory=list)


def find(tree: ast.Module, namespace: dict[str, Any], model: str | None, step: str | None) -> Found:
    """Return what a file holds.

    Args:
        tree: Its code.
        namespace: What its code made, by name; what only its main program would make is added.
        model: The name of the model, if it was given.
        step: The name of the step, if it was given.

    Raises:
        UnusablePort: If it has no step or no model, or it is not clear which.
    """
    found = Found(namespace)
    _find_step(found, tree, step)
    if not has_instances(namespace, model) or not optimizers(namespace):
        prepare(tree, namespace)
    steps = [step] if step else list(source.steps(tree))
    found.models, found.notes = find_models(tree, namespace, model, (), steps)
    found.built = bool(found.notes)
    return found


def _find_step(found: Found, tree: ast.Module, wanted: str | None) -> None:
    names = found.names
    defined = source.functions(tree)
    order = [wanted] if wanted else list(source.steps(tree))
    callables = {name: function_of(name, names) for name in order}
    steps = [name for name in order if callables[name]]
    if not steps:
        near = source.nearest(order[0], [n for n, v in names.items() if inspect.isfunction(v)])
        raise UnusablePort(f"it has no function {order[0]}{near}: name another with --step")
    loops = [name for name in steps if source.is_loop(name, defined)]
    first = steps[0]
    found.step_name = first
    if first not in loops or (wanted and first not in source.LOOPS):
        found.step = callables[first]
    known = [n for n in source.LOOPS if callable(names.get(n)) and n != first]
    for name in [*known, *loops]:
        if name != first or found.step is None:
            found.loop = found.loop or function_of(name, names)
