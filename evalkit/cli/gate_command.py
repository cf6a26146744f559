"""``python -m evalkit gate``, and ``task=gate``: a result judged against a baseline."""

import argparse
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from evalkit.boundary.errors import EvalkitError, NotFiniteError
from evalkit.boundary.text import user_path
from evalkit.cli.session import HOLDS, REGRESSED
from evalkit.results.gate.limits import Limits

if TYPE_CHECKING:
    from evalkit.results.gate.verdict import Verdict
    from evalkit.results.reading import Finished

_FILES = ("junit", "markdown")
"""The settings that name a file which the verdict is written to."""


@dataclass(frozen=True)
class Gate:
    """A gate whose baseline is read and whose limits are checked, before any work is done."""

    path: Path
    baseline: Any
    limits: Limits
    """The limits that it judges by."""
    own: Mapping[str, Any]
    """Those that come from the baseline."""
    asked: Limits
    """The limits without those of the baseline."""
    junit: Path | None
    markdown: Path | None

    @classmethod
    def of(cls, settings: Mapping[str, Any], overrides: Sequence[str], packaged: Mapping[str, Any]) -> "Gate":
        """Return the gate of the settings of the group ``gate``.

        Args:
            settings: the group as composed.
            overrides: those of the command line, which take precedence over the limits of the baseline.
            packaged: the limits of experiment=ci, over which the baseline takes precedence.

        Raises:
            EvalkitError: a limit makes no sense, or the baseline cannot be read.
        """
        from evalkit.results.gate import baseline, own_limits

        asked = limits_of(settings)
        asked.check()
        path = user_path(settings["baseline"])
        junit, markdown = (user_path(settings[key]) if settings[key] else None for key in _FILES)
        found = baseline.read(path)
        limits, own = own_limits.merged(asked, found.limits, named_in(overrides), packaged)
        return cls(path, found, limits, own, asked, junit, markdown)

    def judge(self, finished: "Finished") -> "Verdict":
        """Judge a finished trial.

        Args:
            finished: the trial.

        Raises:
            EvalkitError: result and baseline cannot be compared.
        """
        from evalkit.results.gate import judge, own_limits

        return own_limits.named(judge.judge(self.baseline, finished, self.limits), self.own, self.asked)

    def run(self, result: str | Path) -> int:
        """Judge a result and print the verdict, also as JUnit XML, as a comment and for GitHub where asked for.

        Args:
            result: a trial's folder, or the result.json in it.

        Returns:
            The exit code: 0 it passes, 1 it does not.

        Raises:
            EvalkitError: result and baseline cannot be compared, or a report cannot be written.
        """
        from evalkit.report import github, junit, markdown, terminal
        from evalkit.results import reading
        from evalkit.results.gate import judge

        try:
            judged = self.judge(reading.read(result))
        except NotFiniteError as error:
            judged = judge.not_finite(str(error))
        terminal.show_gate(judged, str(self.path))
        if self.junit:
            junit.write(judged, self.junit)
        if self.markdown:
            github.write_comment(markdown.gate(judged), self.markdown)
        github.append_summary(markdown.gate(judged))
        if github.wanted():
            terminal.show_lines(github.annotations(judged))
        return HOLDS if judged.holds else REGRESSED


def limits_of(settings: Mapping[str, Any]) -> Limits:
    """Return the limits in the group ``gate``, as composed."""
    return Limits(**{key: value for key, value in settings.items() if key not in ("baseline", *_FILES)})


def named_in(overrides: Sequence[str]) -> set[str]:
    """Return the keys of the group ``gate`` that a command line sets, such as ``skip`` for ``gate.skip=[unjudged]``."""
    keys = (override.lstrip("+~").partition("=")[0].split(".") for override in overrides)
    return {key[1] for key in keys if key[0] == "gate" and len(key) > 1}


def run(parsed: argparse.Namespace, gate_settings: Callable[[list[str]], Mapping[str, Any]]) -> int:
    """Judge a result, print the verdict, and return the exit code.

    Args:
        parsed: the arguments of `add_arguments`.
        gate_settings: composes the group ``gate`` from overrides of Hydra.

    Returns:
        `HOLDS` or `REGRESSED`.

    Raises:
        EvalkitError: an argument makes no sense, or result and baseline cannot be read or compared.
    """
    for setting in parsed.settings:
        if not setting.lstrip("+").startswith(("gate.", "gate=")) or "=" not in setting:
            raise EvalkitError(
                "gate takes a RESULT, --baseline FILE, --junit FILE, --markdown FILE and settings such as "
                f"gate.tolerance.nDCG=0.03; {setting!r} is not one of them"
            )
    settings = dict(gate_settings(parsed.settings))
    given = {key: getattr(parsed, key) for key in ("baseline", *_FILES)}
    settings |= {key: value for key, value in given.items() if value}
    packaged = gate_settings(["experiment=ci"])
    return Gate.of(settings, parsed.settings, packaged).run(parsed.result)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``gate`` to its parser."""
    parser.add_argument("result", metavar="RESULT", help="a trial's folder, or the result.json in it")
    parser.add_argument("settings", metavar="gate.KEY=VALUE", nargs="*", help="limits: evalkit info gate standard")
    parser.add_argument("--baseline", metavar="FILE", help="default: reports/baselines/ci.json")
    parser.add_argument("--junit", metavar="FILE", help="write the verdict as JUnit XML too")
    parser.add_argument("--markdown", metavar="FILE", help="and as a comment on a pull request")
