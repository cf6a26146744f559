"""The pytest plugin: the fixture `evalkit_gate` fails a test whose trial is worse than its committed baseline.

pytest imports this file at each start wherever evalkit is installed. So it imports pytest and nothing else that takes
time, and it changes nothing for tests without the fixture.
"""

import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from evalkit.boundary.errors import EvalkitError

if TYPE_CHECKING:
    from evalkit.api.judging import Finished
    from evalkit.api.outcomes import GateResult, TrialResult

UPDATE, ACCEPT = "--evalkit-update-baselines", "--evalkit-accept-limits"
MARK = "evalkit"
_NOT_IN_A_NAME = re.compile(r"[^\w.=-]+")


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the options that write baselines."""
    group = parser.getgroup("evalkit", "evalkit: trials against committed baselines")
    group.addoption(
        UPDATE, action="store_true", help="write the trials that evalkit_gate gets as its baselines, do not judge them"
    )
    group.addoption(
        ACCEPT, action="store_true", help=f"with {UPDATE}: if a trial fails its own gate, write the limits it needs"
    )


def pytest_configure(config: pytest.Config) -> None:
    """Register the mark.

    Raises:
        pytest.UsageError: limits are to be accepted where no baseline is written.
    """
    config.addinivalue_line("markers", f"{MARK}: compares a trial with a baseline; evalkit_gate's tests have it")
    config.stash[_WRITTEN] = {}
    if config.getoption(ACCEPT) and not config.getoption(UPDATE):
        raise pytest.UsageError(f"{ACCEPT} has no effect without {UPDATE}")


@pytest.hookimpl(tryfirst=True)  # before -m selects
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the tests with the fixture, so that ``-m "not evalkit"`` leaves them out."""
    for item in items:
        if "evalkit_gate" in getattr(item, "fixturenames", ()):
            item.add_marker(MARK)


@pytest.fixture
def evalkit_gate(request: pytest.FixtureRequest) -> "EvalkitGate":
    """Compares trials with baselines; not named evalkit, which would hide the module in a test that uses both."""
    return EvalkitGate(request.node)


class EvalkitGate:
    """The gate of one test: finds its baseline, judges or writes it, and records what it found for the reports."""

    def __init__(self, test: pytest.Item) -> None:
        """Bind the gate to a test.

        Args:
            test: the test that uses the fixture.
        """
        self._test = test

    def assert_not_worse(
        self, trial: "Finished", baseline: str | Path | None = None, overrides: Sequence[str] = ()
    ) -> None:
        """Fail the test if the trial is worse than its baseline.

        Args:
            trial: a trial, or the folder of one.
            baseline: the baseline's file, relative to the folder of the test's file; by default
                ``baselines/MODULE/TEST.json``, with the class and the parameters of the test in its name.
            overrides: limits as on the command line, such as ``["gate.tolerance.nDCG=0.03"]``.

        Raises:
            AssertionError: a check of the gate failed; the message has the checks and the queries that lost most.
            EvalkitError: there is no baseline, a limit makes no sense, or the two cannot be compared.
        """
        __tracebackhide__ = True
        found = self(trial, baseline, overrides)
        if not found.holds:
            raise AssertionError("\n".join(self._why(found)))

    def __call__(
        self, trial: "Finished", baseline: str | Path | None = None, overrides: Sequence[str] = ()
    ) -> "GateResult":
        """Return what the gate finds, as `evalkit.gate` does; with --evalkit-update-baselines write the baseline first.

        Args:
            trial: as for `assert_not_worse`.
            baseline: as for `assert_not_worse`.
            overrides: as for `assert_not_worse`.

        Raises:
            EvalkitError: as for `assert_not_worse`; or the trial fails its own gate and is not written.
        """
        __tracebackhide__ = True
        file = self._test.path.parent / (self._default() if baseline is None else Path(baseline).expanduser())
        try:
            return self._compared(trial, file, overrides)
        except EvalkitError as error:
            raise type(error)(str(error)) from None  # without the frames below, which say nothing to the reader

    def _default(self) -> Path:
        names = [node.name for node in self._test.listchain() if isinstance(node, pytest.Class | pytest.Item)]
        return Path("baselines", self._test.path.stem, f"{_NOT_IN_A_NAME.sub('-', '.'.join(names)).strip('-')}.json")

    def _compared(self, trial: "Finished", file: Path, overrides: Sequence[str]) -> "GateResult":
        from evalkit.api import judging
        from evalkit.api.outcomes import TrialResult
        from evalkit.report.content import gate as words

        loaded = trial if isinstance(trial, TrialResult) else judging.load(trial)
        update = self._test.config.getoption(UPDATE)
        done = ""
        if update:
            done = self._write(loaded, file, overrides)
        elif not os.path.exists(file):
            raise EvalkitError(
                f"there is no baseline at {self._shown(file)}; if you trust this trial, pytest {UPDATE} writes it, and "
                "then commit it"
            )
        found = judging.gate(loaded, file, overrides)
        outcome = "written" if update else "holds" if found.holds else "fails"
        self._record(loaded, found, file, outcome, done or words.headline(found.details))
        return found

    def _write(self, trial: "TrialResult", file: Path, overrides: Sequence[str]) -> str:
        from evalkit.api import judging

        config = self._test.config
        other = config.stash[_WRITTEN].get(file)
        if other and (other is self or other._test.nodeid != self._test.nodeid):  # a test that is run again may
            raise EvalkitError(
                f"{self._shown(file)} was written by {other._test.nodeid} already; give each gate a baseline of its "
                "own: baseline='NAME.json'"
            )
        config.stash[_WRITTEN][file] = self
        said = judging.baseline_written(trial, file, config.getoption(ACCEPT), overrides, ACCEPT)
        return said.replace(str(file), self._shown(file))

    def _record(self, trial: "TrialResult", found: "GateResult", file: Path, outcome: str, sentence: str) -> None:
        """Add the properties that JUnit XML shows, and that come back from the workers of xdist."""
        facts = {"baseline": self._shown(file), "outcome": outcome, "verdict": sentence}
        for quality in found.details.qualities:
            facts[f"{quality.measure}_before"] = f"{quality.before:.6f}"
            facts[f"{quality.measure}_after"] = f"{quality.after:.6f}"
            facts[f"{quality.measure}_delta"] = f"{quality.delta.mean:+.6f}"
        if trial.cost and trial.cost.latency:
            facts["p50_ms"] = f"{trial.cost.latency.p50_ms:.3f}"
        self._test.user_properties += [(f"evalkit_{name}", value) for name, value in facts.items()]

    def _why(self, found: "GateResult") -> Iterator[str]:
        from evalkit.boundary.terminal import without_controls
        from evalkit.report.content import gate as words

        verdict, file = found.details, self._shown(found.baseline)
        changed = [f"differs from the baseline: {line}" for line in verdict.changed]
        for line in (words.headline(verdict), *changed, *words.notable_lines(verdict), *words.loss_lines(verdict)):
            yield without_controls(line)
        yield f"against {file}; to accept this, write it anew: pytest {UPDATE} {self._test.nodeid}"

    def _shown(self, file: Path) -> str:
        """Return a path as short as it can be typed where pytest was started."""
        started = self._test.config.invocation_params.dir
        return os.path.relpath(file, started) if file.is_relative_to(started) else str(file)


_WRITTEN = pytest.StashKey[dict[Path, EvalkitGate]]()
"""The baselines that this run has written."""


def pytest_terminal_summary(terminalreporter: "pytest.TerminalReporter") -> None:
    """Print a line for each gate, in the order of the tests' names."""
    reports = [report for group in terminalreporter.stats.values() for report in group]
    gates = {
        report.nodeid: [value for name, value in report.user_properties if name == "evalkit_verdict"]
        for report in reports
        if getattr(report, "when", None) == "teardown"
    }
    lines = [f"{test}: {verdict}" for test, verdicts in sorted(gates.items()) for verdict in verdicts]
    if lines:
        terminalreporter.section("evalkit")
    for line in lines:
        terminalreporter.write_line(line)
