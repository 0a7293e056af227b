"""Settings of every test run: the tests and the examples in docstrings alike."""

import os
import sys
from collections.abc import Generator

import pytest

# Set before matplotlib is imported by anything, and inherited by the processes that tests start.
os.environ["MPLBACKEND"] = "agg"

NO_SKIP = os.environ.get("VILLARD_NO_SKIP", "0") not in {"", "0"}


def pytest_runtest_teardown() -> None:
    """Close the figures that a test leaves open, without importing matplotlib for it."""
    if "matplotlib.pyplot" in sys.modules:
        sys.modules["matplotlib.pyplot"].close("all")


def _fail_if_skipped(report: pytest.TestReport | pytest.CollectReport) -> None:
    # An expected failure is reported as skipped as well, but nothing went untested there.
    if NO_SKIP and report.skipped and not hasattr(report, "wasxfail"):
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longrepr
        report.outcome = "failed"
        report.longrepr = f"{report.nodeid}: skipped, but VILLARD_NO_SKIP is set. {reason}"


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """With ``VILLARD_NO_SKIP=1`` a skipped test is a failed one: a complete run leaves nothing out."""
    report = yield
    _fail_if_skipped(report)
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report() -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    """Do the same for a module that skips itself while it is imported."""
    report = yield
    _fail_if_skipped(report)
    return report
