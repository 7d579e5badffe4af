"""What the test modules share: the packages, MNIST, and the judge with its summary."""

import functools
import importlib
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from parity_tests.harness import report
from parity_tests.harness.adapters import Port, Reference
from parity_tests.harness.compare import Judge, Record


def pytest_addoption(parser: pytest.Parser) -> None:
    """Adds the option that names the folder of MNIST."""
    parser.addoption("--data", type=Path, default=Path("data"), help="folder that holds MNIST/raw")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Starts the long tests first, so that several processes share the time evenly."""
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


@pytest.fixture(autouse=True)
def settings_of_the_process() -> Iterator[None]:
    """Puts back what a test, or a command line in it, has settled for the whole process."""
    yield
    for package in ("tf_reference", "torch_port"):
        if f"{package}.framework" in sys.modules:
            importlib.import_module(package).use_dtype("float32")
    if "torch" in sys.modules:
        sys.modules["torch"].set_float32_matmul_precision("highest")


@pytest.fixture(params=["tf_reference", "torch_port"])
def wing(request: pytest.FixtureRequest) -> ModuleType:
    """Each of the two packages in turn."""
    return importlib.import_module(request.param)


@pytest.fixture(params=["float32", "float64"])
def dtype(request: pytest.FixtureRequest) -> str:
    """Each dtype in turn."""
    return request.param


@pytest.fixture
def tiny(wing: ModuleType) -> tuple:
    """A model of each package that trains in microseconds, 30 images and their labels."""
    rng = np.random.default_rng(0)
    layer = wing.NaiveDense(6, 4, wing.mnist_model().layers[1].activation, rng=rng)
    images = rng.uniform(0, 1, (30, 6)).astype("float32")
    return wing.NaiveSequential([layer]), images, rng.integers(0, 4, 30)


@pytest.fixture
def status_of(monkeypatch: pytest.MonkeyPatch) -> Callable[..., object]:
    """Runs the `main` of a command line with some arguments; returns its exit status."""

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
    wing: ModuleType,
    data: Path,
    status_of: Callable[..., object],
    capsys: pytest.CaptureFixture[str],
) -> Callable[..., tuple[object, str, str]]:
    """Runs a command line of each package; returns its exit status, output and errors."""
    main = importlib.import_module(f"{wing.__name__}.__main__").main

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
def judge(record_property: Callable[[str, object], None]) -> Iterator[Judge]:
    """A judge whose records go into the summary at the end of the run."""
    judge = Judge()
    yield judge
    for record in judge.records.values():
        record_property("record", asdict(record))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Prints what the judges saw: one line for each quantity of each rung."""
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
