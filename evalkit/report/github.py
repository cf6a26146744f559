"""Output for GitHub Actions: annotations on standard output, the summary of the job, a comment on a pull request."""

import os
import re
from collections.abc import Iterator
from pathlib import Path

from evalkit.boundary.errors import EvalkitError
from evalkit.report.content import gate as words
from evalkit.results.gate.verdict import Verdict


def annotations(verdict: Verdict) -> Iterator[str]:
    """Yield a workflow command for each check that failed, is undecided or was skipped, and a notice if the gate holds.

    Source of syntax and escapes: GitHub's workflow commands (actions/toolkit, command.ts).
    """
    for check in verdict.checks:
        if check.state in ("failed", "undecided", "skipped"):
            level = "error" if check.state == "failed" else "warning"
            yield f"::{level} title={_property(f'evalkit gate: {check.name}')}::{_data(words.alone(check))}"
    if verdict.holds:
        yield f"::notice title=evalkit gate::{_data(words.headline(verdict))}"


def _data(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _data(text).replace(":", "%3A").replace(",", "%2C")


def wanted() -> bool:
    """Return whether this process runs in a job of GitHub Actions."""
    return os.environ.get("GITHUB_ACTIONS") == "true"


def append_summary(markdown: str) -> None:
    """Append to the file that ``GITHUB_STEP_SUMMARY`` names, if it names one.

    Raises:
        EvalkitError: that file cannot be written.
    """
    where = os.environ.get("GITHUB_STEP_SUMMARY")
    if not where:
        return
    try:
        with Path(where).open("a", encoding="utf-8", errors="backslashreplace") as summary:
            summary.write(f"\n{markdown}\n")
    except OSError as error:
        raise EvalkitError(f"cannot append to GITHUB_STEP_SUMMARY={where}: {error.strerror or error}") from None


def write_comment(markdown: str, path: Path) -> None:
    """Write a text to be posted as a comment, in which nothing of the data notifies a person or becomes a link.

    Args:
        markdown: the text.
        path: path of the file; missing folders are created.

    Raises:
        EvalkitError: it cannot be written there.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(_REFERENCE.sub(r"\g<0><!-- -->", markdown), encoding="utf-8", errors="backslashreplace")
    except (OSError, ValueError) as error:
        raise EvalkitError(
            f"cannot write {path}: {getattr(error, 'strerror', None) or error}; name another file as markdown"
        ) from None


_REFERENCE = re.compile(r"(?<!\w)@(?=\w)|(?:#|\bGH-)(?=\d)|://(?=\w)", re.IGNORECASE)
"""What begins a mention (@name), a reference (#1, GH-1) or an address; an empty comment after it takes that away."""
