"""What the test modules share: the packages, MNIST, and the judge with its summary."""

import functools
import gc
import importlib
import itertools
import random
import sys
from collections import Counter
from collections.abc import Callable, Generator, Iterator
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from hypothesis import settings

from parity_tests.ladder import report
from parity_tests.ladder.adapters import Port, Reference
from parity_tests.ladder.compare import Judge, Record
from parity_tests.ladder.oracle import Oracle, RMSprop
from parity_tests.page.series import Series
from parity_tests.program.frameworks import FRAMEWORKS
from parity_tests.tests import evidence, progress

default_rng = np.random.default_rng
CASES = pytest.StashKey[Counter[str]]()
"""How many cases of each test were collected."""

settings.register_profile("fixed", derandomize=True, deadline=None, max_examples=200)
settings.register_profile("search", deadline=None, max_examples=20_000, print_blob=True)
settings.load_profile("fixed")


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the options that name the folder of MNIST, the page and a mistake."""
    parser.addoption("--data", type=Path, default=Path("data"), help="folder that holds MNIST/raw")
    parser.addoption("--page", type=Path, help="write the page of the run to this HTML file")
    parser.addoption("--plant", metavar="TRAP", help="make a known mistake in the port: it fails")


def pytest_configure(config: pytest.Config) -> None:
    """Show the progress on a terminal, and seed what test modules draw when they are imported."""
    progress.register(config)
    # Before TensorFlow: in the other order, loading the compiler of PyTorch may end the process.
    importlib.import_module("torch._dynamo")
    seed_every_generator()
    if name := config.getoption("--plant"):
        plant_for_all(config, name)


def plant_for_all(config: pytest.Config, name: str) -> None:
    """Make one of the known mistakes in the port, in every test and in the search for causes."""
    traps = importlib.import_module("parity_tests.traps.catalogue").CATALOGUE
    by_name = {trap.name: trap for trap in traps}
    if name not in by_name:
        raise pytest.UsageError(f"--plant is {name!r}: expected one of {', '.join(by_name)}")
    planted = ExitStack()
    planted.enter_context(by_name[name].plant())
    config.add_cleanup(planted.close)


def seed_every_generator() -> None:
    """Make all that follows draw the same numbers, also where no seed is given."""
    seeds = itertools.count()
    np.random.default_rng = lambda seed=None: default_rng(next(seeds) if seed is None else seed)
    random.seed(0)
    np.random.seed(0)  # noqa: NPY002 (other libraries may draw from it)
    if "torch" in sys.modules:
        sys.modules["torch"].manual_seed(0)
    if "tensorflow" in sys.modules:
        sys.modules["tensorflow"].random.set_seed(0)


def pytest_itemcollected(item: pytest.Item) -> None:
    """Leave all but every n-th case of a test that is sampled to `make soak`."""
    if sampled := item.get_closest_marker("sampled"):
        counts = item.session.stash.setdefault(CASES, Counter())
        test = item.nodeid.split("[")[0]
        if counts[test] % sampled.args[0]:
            item.add_marker("soak")
        counts[test] += 1


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Start the long tests first, so that several processes share the time evenly."""
    items.sort(key=lambda item: item.get_closest_marker("long") is None)


@functools.cache
def spare_the_garbage_collector(frameworks: frozenset[str]) -> None:
    """Leave what was imported out of its rounds: it runs often then, and arrays do not pile up."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session")
def data(request: pytest.FixtureRequest) -> Path:
    """The folder that holds MNIST in MNIST/raw."""
    return request.config.getoption("--data").absolute()


@pytest.fixture(scope="session")
def mnist(data: Path) -> Callable[[str], tuple[np.ndarray, ...]]:
    """Training images and labels, test images and labels, in a dtype."""

    @functools.lru_cache(maxsize=1)
    def load(dtype: str) -> tuple[np.ndarray, ...]:
        train, test = importlib.import_module("tf_reference").load_mnist(data, dtype)
        return *train, *test

    return load


@pytest.fixture(scope="session")
def sets(data: Path) -> Callable[[str], dict[str, np.ndarray]]:
    """MNIST in a dtype, by name, as the port loads it."""
    return functools.lru_cache(maxsize=1)(lambda dtype: Port(dtype=dtype, folder=data).data())


@pytest.fixture(autouse=True)
def seeded() -> None:
    """Seed every generator before each test, so that its draws do not depend on the others."""
    seed_every_generator()
    spare_the_garbage_collector(frozenset({"torch", "tensorflow", "keras"} & sys.modules.keys()))


@pytest.fixture(autouse=True)
def settings_of_the_process() -> Iterator[None]:
    """Put back what a test, or a command line in it, has settled for the whole process."""
    yield
    for package in ("tf_reference", "torch_port"):
        if f"{package}.framework" in sys.modules:
            importlib.import_module(package).use_dtype("float32")
    if "torch" in sys.modules:
        sys.modules["torch"].set_float32_matmul_precision("highest")


@pytest.fixture(params=["tf_reference", "torch_port"])
def package(request: pytest.FixtureRequest) -> ModuleType:
    """Each of the two packages in turn."""
    return importlib.import_module(request.param)


@pytest.fixture(params=["float32", "float64"])
def dtype(request: pytest.FixtureRequest) -> str:
    """Each dtype in turn."""
    return request.param


@pytest.fixture
def tiny(package: ModuleType) -> tuple:
    """A model of each package that trains in microseconds, 30 images and their labels."""
    rng = np.random.default_rng(0)
    layer = package.NaiveDense(6, 4, package.mnist_model().layers[1].activation, rng=rng)
    images = rng.uniform(0, 1, (30, 6)).astype("float32")
    return package.NaiveSequential([layer]), images, rng.integers(0, 4, 30)


@pytest.fixture
def status_of(monkeypatch: pytest.MonkeyPatch) -> Callable[..., object]:
    """Run the `main` of a command line with some arguments; return its exit status."""

    def run(main: Callable[[], None], *arguments: object) -> object:
        monkeypatch.setattr(sys, "argv", ["program", *map(str, arguments)])
        try:
            main()
        except SystemExit as end:
            return end.code
        return 0

    return run


@pytest.fixture
def command(
    package: ModuleType,
    data: Path,
    status_of: Callable[..., object],
    capsys: pytest.CaptureFixture[str],
) -> Callable[..., tuple[object, str, str]]:
    """Run a command with each package; return its exit status, output and errors."""
    main = importlib.import_module("parity_tests.__main__").main
    framework = FRAMEWORKS[package.__name__]

    def run(name: str, *arguments: object, data: Path = data) -> tuple[object, str, str]:
        status = status_of(main, name, framework, *arguments, "--data", data)
        return status, *capsys.readouterr()

    return run


@pytest.fixture
def reference(dtype: str) -> Reference:
    """The reference's 784-512-10 model."""
    return Reference(dtype=dtype)


@pytest.fixture
def port(dtype: str) -> Port:
    """The port's 784-512-10 model."""
    return Port(dtype=dtype)


@pytest.fixture
def batch(mnist: Callable, dtype: str) -> tuple[np.ndarray, np.ndarray]:
    """The first 128 training images and their labels."""
    images, labels, _, _ = mnist(dtype)
    return images[:128], labels[:128]


@pytest.fixture
def default_dtype(dtype: str) -> None:
    """Make Keras compute in the dtype of the test: losses, averages and learning rates too."""
    for package in ("tf_reference", "torch_port"):
        importlib.import_module(package).use_dtype(dtype)


@pytest.fixture
def trio(default_dtype: None, dtype: str) -> tuple[Reference, Port, Oracle]:
    """The first example of the reference, the port and the oracle, with the same weights."""
    reference, port = Reference(dtype=dtype), Port(dtype=dtype)
    reference.model = reference.package.first_example.mnist_model(seed=0)
    port.model = port.package.first_example.mnist_model()
    rate = float(np.dtype(dtype).type(1e-3))
    oracle = Oracle(dtype, RMSprop(rate), on_logits=True)
    for implementation in (port, oracle):
        implementation.load_weights(reference.weights())
    return reference, port, oracle


@pytest.fixture
def judge(record_property: Callable[[str, object], None]) -> Iterator[Judge]:
    """A judge whose records go into the summary at the end of the run."""
    judge = Judge()
    yield judge
    for record in judge.records.values():
        record_property("record", asdict(record))


@pytest.fixture
def series(
    judge: Judge, record_property: Callable[[str, object], None], dtype: str
) -> Iterator[Series]:
    """What the page draws of the ten epochs, kept while the judge compares."""
    judge.watch = series = Series()
    yield series
    record_property("series", {"dtype": dtype, **series.as_json()})


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(call: pytest.CallInfo) -> Generator[None, Any, Any]:
    """Keep what a failure says, so that the page can show it."""
    report = yield
    if report.failed and call.excinfo is not None:
        report.user_properties.append(("failure", evidence.described(call.excinfo.value)))
    return report


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    """Print what the judges saw, one line for each quantity of each rung; write the page."""
    records = [Record(**of) for of in evidence.properties(terminalreporter.stats, "record")]
    if records:
        terminalreporter.section("the ladder")
        terminalreporter.write_line(report.ladder(records))
    if path := config.getoption("--page"):
        from parity_tests.page import parity  # and with it Matplotlib, for this alone

        run = evidence.collected(terminalreporter.stats, config)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(parity.parity_page(run), encoding="utf-8")
        terminalreporter.write_line(f"the page of this run: {path}")
