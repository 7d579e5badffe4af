"""Fuzz one reader: `python -m parity_tests.tests.fuzz.one "run logs"`.

What follows the name is for libFuzzer. With the path of an input that it has kept, that one alone
is executed.
"""

import hashlib
import importlib
import os
import re
import resource
import sys
import tempfile
import traceback
from collections.abc import Callable
from functools import partial
from pathlib import Path

import atheris

# Frameworks are not instrumented: their branches would be searched in place of the readers'.
for framework in ("torch", "torch._dynamo", "keras", "tensorflow", "torchvision"):
    importlib.import_module(framework)
INSTRUMENTED = ["tf_reference", "torch_port", "parity_tests"]
with atheris.instrument_imports(include=INSTRUMENTED):
    from parity_tests.tests.fuzz import harness, targets

MEMORY = 1_000_000_000
"""Bytes that an execution may take above what the process has at its start."""

SECONDS = 20
"""Within which an execution must end."""


def main() -> None:
    """Fuzz a reader in a temporary folder, until it fails or has been executed often enough."""
    name, *options = sys.argv[1:]
    paths = [str(Path(option).absolute()) for option in options if not option.startswith("-")]
    options = [option for option in options if option.startswith("-")]
    kept = Path.cwd() / "build" / "fuzz" / name.replace(" ", "-")
    kept.mkdir(parents=True, exist_ok=True)
    fast = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None  # noqa: S108 (a folder in memory)
    with tempfile.TemporaryDirectory(dir=fast) as folder:
        work, corpus, temporary = (Path(folder, part) for part in ("work", "corpus", "temporary"))
        for made in (work, corpus, temporary):
            made.mkdir()
        os.chdir(work)
        tempfile.tempdir = str(temporary)
        target = targets.targets()[name]
        words = settle(target, corpus)
        with atheris.instrument_imports(include=INSTRUMENTED):
            read = target.make()
            for seed in target.seeds():  # which imports what is imported late
                harness.execute(target, read, seed)
        harness.watch_escapes(Path(folder).resolve())
        held = int(Path("/proc/self/statm").read_text().split()[5]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_DATA, (held + MEMORY, resource.RLIM_INFINITY))
        arguments = [f"-runs={target.executions}", "-seed=1", "-rss_limit_mb=4000"]
        arguments += [f"-timeout={SECONDS}", f"-artifact_prefix={kept}/", "-max_len=20000"]
        arguments += ["-reduce_inputs=0", "-len_control=0", "-print_final_stats=1"]
        arguments += [*words, *options, *(paths or [str(corpus)])]
        atheris.Setup([name, *arguments], partial(execute, target, read, kept))
        atheris.Fuzz()


def settle(target: harness.Target, corpus: Path) -> list[str]:
    """Write the right content, and its words; return the option that names these."""
    seeds = target.seeds()
    for number, seed in enumerate(seeds):
        (corpus / f"seed{number}").write_bytes(seed)
    words = sorted(set(re.findall(rb"[A-Za-z0-9_.-]{2,30}", b" ".join(seeds))))
    place = corpus.with_name("words")
    place.write_text("".join(f'"{word.decode()}"\n' for word in words))
    return [f"-dict={place}"] if words else []


def execute(target: harness.Target, read: Callable, kept: Path, content: bytes) -> None:
    """Execute a target; keep what makes it fail, and end the process."""
    try:
        harness.execute(target, read, content)
    except BaseException:  # noqa: BLE001 (it is shown, and ends the process)
        traceback.print_exc()
        place = kept / f"failed-{hashlib.sha256(content).hexdigest()[:8]}"
        place.write_bytes(content)
        print(f"the input is in {place}: {content[:200]!r}", file=sys.stderr)
        os._exit(1)  # at once, with no end of frameworks to wait for


if __name__ == "__main__":
    main()
