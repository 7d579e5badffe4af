"""The mutants of a module: mutmut's, each as a whole source, with a key that outlives edits."""

import ast
import difflib
from collections.abc import Iterator
from dataclasses import dataclass

import libcst as cst
from libcst.metadata import MetadataWrapper
from mutmut.mutation.file_mutation import MutationVisitor
from mutmut.mutation.mutators import mutation_operators
from mutmut.mutation.pragma_handling import IgnoredCode


@dataclass(frozen=True)
class Mutant:
    """A module with one change.

    Attributes:
        function: Where the change is, such as `Judge.__call__`; empty at the top of the module.
        before: The lines that change, without their indent.
        after: What they become.
        source: Of the whole module.
    """

    function: str
    before: str
    after: str
    source: str

    @property
    def key(self) -> str:
        """What names the change, wherever in the module its lines are."""
        return f"{self.function}: {self.before} -> {self.after}"


class EveryLine(MutationVisitor):
    """mutmut's visitor, in decorated functions as well, and not in text for people.

    mutmut leaves out decorated functions, because its trampolines do not fit them. Here each
    mutant is a module of its own.
    """

    def __init__(self) -> None:
        super().__init__(mutation_operators, IgnoredCode(set(), set(), set()))
        self.places: list[tuple[str, cst.CSTNode]] = []
        self._inside: list[cst.CSTNode] = []

    def on_visit(self, node: cst.CSTNode) -> bool:
        """Mutate a node, and note in which function it is."""
        self._inside.append(node)
        if _for_people(node):
            return False
        known = len(self.mutations)
        further = super().on_visit(node)
        named = (n for n in self._inside if isinstance(n, cst.FunctionDef | cst.ClassDef))
        where = ".".join(n.name.value for n in named)
        self.places += [(where, self._inside[:2][-1])] * (len(self.mutations) - known)
        return further

    def on_leave(self, original_node: cst.CSTNode) -> None:
        """Leave a node."""
        super().on_leave(original_node)
        self._inside.pop()

    def _skip_node_and_children(self, node: cst.CSTNode) -> bool:
        decorated = isinstance(node, cst.FunctionDef) and node.decorators
        return not decorated and super()._skip_node_and_children(node)


def _for_people(node: cst.CSTNode) -> bool:
    """Return whether a node is text: a string with a space in it, what is printed, a message."""
    if isinstance(node, cst.SimpleString):
        return " " in node.value
    if isinstance(node, cst.Call) and isinstance(node.func, cst.Name):
        return node.func.value in ("print", "ValueError", "TypeError", "RuntimeError", "IndexError")
    return False


def mutants(source: str) -> Iterator[Mutant]:
    """Yield the mutants of a module that are other programs than it and than each other."""
    wrapper = MetadataWrapper(cst.parse_module(source))
    visitor = EveryLine()
    wrapper.visit(visitor)
    statements = wrapper.module.body
    pieces = [wrapper.module.code_for_node(statement) for statement in statements]
    places = {id(statement): place for place, statement in enumerate(statements)}
    seen = {ast.dump(ast.parse(piece)) for piece in pieces}
    for (function, statement), of in zip(visitor.places, visitor.mutations, strict=True):
        place = places[id(statement)]
        mutated = statement.deep_replace(of.original_node, of.mutated_node)
        assert isinstance(mutated, cst.CSTNode)
        piece = wrapper.module.code_for_node(mutated)
        try:
            program = ast.dump(ast.parse(piece))
        except SyntaxError:
            continue
        if program not in seen:
            seen.add(program)
            code = "".join([*pieces[:place], piece, *pieces[place + 1 :]])
            yield Mutant(function, *_changed(pieces[place], piece), code)


def _changed(source: str, mutated: str) -> tuple[str, str]:
    """Return the lines that differ, those of each side on one line."""
    sides = source.splitlines(), mutated.splitlines()
    found: tuple[list[str], list[str]] = [], []
    for kind, *ends in difflib.SequenceMatcher(None, *sides, autojunk=False).get_opcodes():
        if kind != "equal":
            for of, side, (start, end) in zip(found, sides, (ends[:2], ends[2:]), strict=True):
                of += [line.strip() for line in side[start:end]]
    return " ".join(found[0]), " ".join(found[1])
