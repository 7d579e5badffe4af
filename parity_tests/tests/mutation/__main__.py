"""Mutate what judges ports, and the port itself: does a test see each change?

A mutant that no test sees must be in `equivalents.toml`, with the reason why no test can.
"""

import argparse
import hashlib
import json
import subprocess
import sys
import tomllib
from collections.abc import Iterable, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

from tqdm import tqdm

from parity_tests.tests.mutation.judging import ROOT, judge, timed
from parity_tests.tests.mutation.mutants import Mutant, mutants
from parity_tests.tests.mutation.scope import JUDGES

HERE = Path(__file__).parent
RESULTS = HERE / "results.json"
EQUIVALENTS = HERE / "equivalents.toml"


def main() -> int:
    """Judge the mutants of all modules, or of some; return 1 if one survives without a reason."""
    parser = argparse.ArgumentParser(prog="make mutants", description=__doc__)
    parser.add_argument("modules", nargs="*", help="paths, such as torch_port/losses.py")
    parser.add_argument("--data", type=Path, default=Path("data"), help="folder of MNIST")
    chosen = parser.parse_args()
    if unknown := sorted(set(chosen.modules) - JUDGES.keys()):
        parser.error(f"{', '.join(unknown)} is not mutated: expected some of {', '.join(JUDGES)}")
    record = f"from {__package__} import reference; reference.record_once({str(chosen.data)!r})"
    subprocess.run([sys.executable, "-c", record], check=True)  # TensorFlow must not be here
    results = json.loads(RESULTS.read_text())
    wrong = []
    for module in chosen.modules or JUDGES:
        survivors, count = survivors_of(Path(module), chosen.data.absolute())
        unknown = [key for key in survivors if key not in equivalents(module)]
        stale = [key for key in equivalents(module) if key not in survivors]
        equal = sum(key in equivalents(module) for key in survivors)
        results[module] = {
            "mutants": count,
            "killed": count - len(survivors),
            "equivalent": equal,
            "survived": len(unknown),
        }
        wrong += [f"{module}: survived: {key}" for key in unknown]
        wrong += [f"{module}: in the table, but killed or gone: {key}" for key in stale]
    ordered = {module: results[module] for module in JUDGES if module in results}
    RESULTS.write_text(json.dumps(ordered, indent=1) + "\n")
    print(table(ordered))
    print(*wrong, sep="\n", file=sys.stderr)
    return int(bool(wrong))


def equivalents(module: str) -> Mapping[str, str]:
    """Return why no test can see some mutants of a module, by their keys."""
    found: dict[str, str] = {}
    for row in tomllib.loads(EQUIVALENTS.read_text()).get(module, []):
        for after in [row["after"]] if isinstance(row["after"], str) else row["after"]:
            found[f"{row['function']}: {row['before']} -> {after}"] = row["why"]
    return found


def survivors_of(module: Path, data: Path) -> tuple[list[str], int]:
    """Return the keys of the mutants of a module that its tests pass, and how many there are.

    What was judged before is kept in `build/mutants`, as long as neither the module nor one of
    its tests has changed.
    """
    tests = [*JUDGES[str(module)], f"--data={data}"]
    source = (ROOT / module).read_text()
    every = list(mutants(source))
    path = ROOT / "build" / "mutants" / f"{_digest(module, tests)}.jsonl"
    path.parent.mkdir(parents=True, exist_ok=True)
    known = dict(map(json.loads, path.read_text().splitlines())) if path.exists() else {}
    left = [mutant for mutant in every if _name(mutant) not in known]
    if left:
        seconds = 5 + 5 * timed(module, tests)
        with path.open("a") as file:
            for mutant in tqdm(left, desc=str(module), unit="mutant", disable=None):
                status = judge(module, mutant.source, tests, seconds)
                known[_name(mutant)] = status
                file.write(json.dumps([_name(mutant), status]) + "\n")
                file.flush()
    return [mutant.key for mutant in every if known[_name(mutant)] == 0], len(every)


def _name(mutant: Mutant) -> str:
    return hashlib.sha256(mutant.source.encode()).hexdigest()


def _digest(module: Path, tests: Iterable[str]) -> str:
    """Return a hash of a module, the tests that judge it, and the tool."""
    sha256 = hashlib.sha256(f"{module} {version('mutmut')}".encode())
    files = [ROOT / test.partition("::")[0] for test in tests if not test.startswith("-")]
    for path in [ROOT / module, *files]:
        sha256.update(path.read_bytes() if path.is_file() else str(path).encode())
    return sha256.hexdigest()[:16]


def table(results: Mapping[str, Mapping[str, Any]]) -> str:
    """Return the results as a Markdown table, with the sums in the last line."""
    names = ("mutants", "killed", "equivalent", "survived")
    total = {name: sum(of[name] for of in results.values()) for name in names}
    lines = [f"| module | {' | '.join(names)} |", "|---|---|---|---|---|"]
    for module, of in [*results.items(), ("all", total)]:
        lines.append(f"| {module} | {' | '.join(f'{of[name]:,}' for name in names)} |")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
