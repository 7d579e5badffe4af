"""A line on the terminal while the tests run: how many are done, and about how long is left."""

import statistics
import sys
import threading
import time
from collections.abc import Mapping, Sequence

import pytest
from tqdm import tqdm

KEY = "naive-parity/seconds"
"""Of pytest's cache: how long each test took when it was run last."""


def seconds_left(
    pending: Sequence[str], expected: Mapping[str, float], taken: Mapping[str, float], workers: int
) -> float | None:
    """Return about how many seconds are left; None while nothing can be said.

    Args:
        pending: Tests that have not ended.
        expected: Seconds that tests took in an earlier run, perhaps at another speed.
        taken: Seconds that tests have taken in this run.
        workers: Processes that share the tests.
    """
    common = taken.keys() & expected.keys()
    speed = 1.0
    if common and (before := sum(expected[test] for test in common)):
        speed = sum(taken[test] for test in common) / before
    if len(taken) < 10 and not expected:
        return None
    usual = statistics.median(taken.values()) if taken else 0.0
    return sum(speed * expected[t] if t in expected else usual for t in pending) / workers


class Progress:
    """A pytest plugin that shows a bar on standard error in place of a dot for each test."""

    def __init__(self, config: pytest.Config) -> None:
        self.cache = config.cache
        self.workers = len(config.getoption("tx", None) or ["this one"])
        self.expected: dict[str, float] = self.cache.get(KEY, {}) if self.cache else {}
        self.taken: dict[str, float] = {}
        self.done: set[str] = set()
        self.tests: list[str] = []
        self.bar: tqdm | None = None
        self.ended = threading.Event()

    def start(self, tests: Sequence[str]) -> None:
        """Show the bar, and the time left anew each second."""
        if self.bar is None:
            self.tests = list(tests)
            layout = "{n_fmt} of {total_fmt} tests |{bar}| {elapsed}{postfix}"
            self.bar = tqdm(total=len(self.tests), bar_format=layout, leave=False)
            self.ticks = threading.Thread(target=self._tick, daemon=True)
            self.ticks.start()

    def _tick(self) -> None:
        begun = time.monotonic()
        while self.bar is not None and not self.ended.wait(1):
            pending = [test for test in self.tests if test not in self.done]
            left = seconds_left(pending, self.expected, self.taken, self.workers)
            if left is not None:
                if not self.taken:
                    left = max(0.0, left - (time.monotonic() - begun))
                self.bar.set_postfix_str(f"about {tqdm.format_interval(int(left))} left")

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        """Start, where this process runs the tests."""
        if session.items and not session.config.option.collectonly:
            self.start([item.nodeid for item in session.items])

    def pytest_xdist_node_collection_finished(self, ids: Sequence[str]) -> None:
        """Start, where others run the tests."""
        self.start(ids)

    @pytest.hookimpl(tryfirst=True)
    def pytest_report_teststatus(self, report: pytest.TestReport) -> tuple[str, str, str] | None:
        """Print nothing for a test that has passed."""
        if getattr(report, "when", "") == "call" and report.passed:
            return "passed", "", "PASSED"
        return None

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Count a test when it has ended."""
        if report.when == "call":
            self.taken[report.nodeid] = report.duration
        if report.when == "teardown" and self.bar is not None:
            self.done.add(report.nodeid)
            self.bar.update()

    def pytest_sessionfinish(self) -> None:
        """Take the line away, and keep the seconds for the next run."""
        self.ended.set()
        if self.bar is not None:
            self.ticks.join()
            self.bar.close()
        if self.cache:
            self.cache.set(KEY, self.expected | self.taken)


def register(config: pytest.Config) -> None:
    """Register the plugin, if this process runs on a terminal."""
    if sys.stderr.isatty() and not hasattr(config, "workerinput"):
        config.pluginmanager.register(Progress(config))
