"""What the test modules share: the packages, MNIST, and the judge with its summary."""

import functools
import importlib
import itertools
import random
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from hypothesis import settings

from parity_tests.ladder import report
from parity_tests.ladder.adapters import Port, Reference
from parity_tests.ladder.compare import Judge, Record
from parity_tests.ladder.oracle import Oracle, RMSprop
from parity_tests.tests import progress

default_rng = np.random.default_rng

settings.register_profile("fixed", derandomize=True, deadline=None, max_examples=200)
settings.register_profile("search", deadline=None, max_examples=20_000, print_blob=True)
settings.load_profile("fixed")


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the option that names the folder of MNIST."""
    parser.addoption("--data", type=Path, default=Path("data"), help="folder that holds MNIST/raw")


def pytest_configure(config: pytest.Config) -> None:
    """Show the progress on a terminal, and seed what test modules draw when they are imported."""
    progress.register(config)
    seed_every_generator()


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


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Start the long tests first, so that several processes share the time evenly."""
    items.sort(key=lambda item: item.get_closest_marker("long") is None)


@pytest.fixture(scope="session")
def data(request: pytest.FixtureRequest) -> Path:
    """The folder that holds MNIST in MNIST/raw."""
    return request.config.getoption("--data")


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
    """Run a command line of each package; return its exit status, output and errors."""
    main = importlib.import_module(f"{package.__name__}.__main__").main

    def run(*arguments: object, data: Path = data) -> tuple[object, str, str]:
        status = status_of(main, *arguments, "--data", data)
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


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print what the judges saw: one line for each quantity of each rung."""
    records = [
        Record(**value)
        for reports in terminalreporter.stats.values()
        for test in reports
        if getattr(test, "when", None) == "teardown"
        for name, value in test.user_properties
        if name == "record"
    ]
    if records:
        terminalreporter.section("the ladder")
        terminalreporter.write_line(report.ladder(records))
