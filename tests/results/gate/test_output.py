"""The verdict of a gate in every place where someone reads it: JUnit, annotations, a job's summary, a terminal."""

import os
import re
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from evalkit.boundary.errors import EvalkitError
from evalkit.evaluation.significance import Delta
from evalkit.report import github, junit, markdown, terminal
from evalkit.results.gate.judge import not_finite
from evalkit.results.gate.verdict import Check, Loss, Move, Quality, Verdict
from tests.conftest import REPOSITORY

GOLDEN = REPOSITORY / "tests" / "golden"
CHECKS = (
    Check("first_stage", "passed", "R@20 of the first stage 0.9000 -> 0.9000"),
    Check("truncated", "skipped", "31.0% of the pairs were cut to 64 tokens; more than max_truncated_share 0.1"),
    Check("nDCG@10", "failed", "fell 0.8000 -> 0.7000, 100% sure:\na drop is shown (p 0.01)"),
    Check("RR@10", "passed", "0.5000 -> 0.5000: no query changed"),
    Check("AP@100", "undecided", "0.4000 -> 0.3900, 50% of it:\nabout 310 queries would decide it"),
    Check("score_drift", "failed", 'scores drifted: "a|b" <i> & ]]> moved'),
    Check("unjudged", "no limit", "share of unjudged passages 20.0% -> 30.0%"),
    Check("p50_ms", "no limit", "median time of a query in ms: 12.3 (gate.max_p50_ms sets a limit)", 12.34),
)
QUALITIES = (
    Quality("nDCG@10", 0.8, 0.7, Delta(-0.1, -0.16, -0.04, 1, 2, 3), 0.02, None, 0.0523, "reranking is", -0.1512,
            0.0123, "worse", None),
    Quality("RR@10", 0.5, 0.5, Delta(0.0, None, None, 0, 6, 0), 0.04, None, None, "", 0.0, 1.0, "not worse", None),
    Quality("AP@100", 0.4, 0.39, Delta(-0.01, -0.03, 0.01, 1, 2, 3), 0.02, None, 0.0341, "this change is", -0.0321,
            0.31, "undecided", 310),
)  # fmt: skip
MOVES = (
    Move("d1", "the answer | with a pipe\n\n<b>and a line", 2, 1, 14),
    Move("d2", "another answer " * 10, 1, 2, None),
    Move("d3", "nobody judged this", None, None, 1),
)
LOSSES = (Loss("q7", "who | what\n<script>?", 0.9, 0.1, MOVES), Loss("q2", "巴黎", 0.6, 0.5, ()))
CHANGED = ("reranker model: good -> worse|<b>",)
FAILING = Verdict("bm25 + cross_encoder", CHANGED, 6, QUALITIES, CHECKS, LOSSES, 20, 0.95, 0.8, 0.05)
HOLDING = replace(FAILING, checks=CHECKS[:2] + CHECKS[3:5] + CHECKS[6:], losses=(), changed=())
HEADLINE = (
    "The gate fails: 2 of 8 checks: nDCG@10, score_drift; undecided: AP@100; failed but skipped on request: truncated."
)
GOOD = (
    "The gate holds: nDCG@10 0.8000 -> 0.7000 (-0.1000); 2 checks passed; undecided: AP@100; failed but skipped on "
    "request: truncated."
)
ALARMS = "Where the systems are equal, any of the 3 measures fails in at most 5 % of the cases."
SEEN = (
    "With 6 queries, a drop of 0.0523 in nDCG@10 alone fails the gate with a probability of 80 %, on top of changes "
    f"that are as uneven over queries as reranking is; smaller ones may pass. {ALARMS}"
)
NASTY = ["]]>", "<b>", "&", '"', "|", "\\", "%", "::", ",", "\r\n", "\x00", "\ud83d"]
any_text = st.lists(st.characters() | st.sampled_from(NASTY)).map("".join)
states = st.sampled_from(["passed", "failed", "undecided", "skipped", "no limit"])
any_checks = st.lists(st.builds(Check, any_text, states, any_text), min_size=1)


@pytest.mark.parametrize(("name", "render"), [("gate.md", markdown.gate), ("gate.junit.xml", junit.dump)])
def test_a_failing_gate_reads_as_promised(name: Any, render: Any) -> None:
    """EVALKIT_WRITE_GOLDEN=1 renews tests/golden/gate.md and gate.junit.xml."""
    if os.environ.get("EVALKIT_WRITE_GOLDEN") == "1":
        (GOLDEN / name).write_text(render(FAILING), "utf-8")
    assert render(FAILING) == (GOLDEN / name).read_text("utf-8")


def test_logits_that_are_not_finite_are_in_every_report(capsys: pytest.CaptureFixture[str]) -> None:
    broken = not_finite("the model gave NaN")
    terminal.show_gate(broken, "ci.json")
    printed = "FAILED logits_finite: the model gave NaN\nThe gate fails: 1 of 1 checks: logits_finite.\n"
    assert capsys.readouterr().out == printed
    assert "- **logits_finite**: the model gave NaN" in markdown.gate(broken)
    assert list(github.annotations(broken)) == ["::error title=evalkit gate%3A logits_finite::the model gave NaN"]
    assert ElementTree.fromstring(junit.dump(broken).encode()).get("failures") == "1"


# --- JUnit


TAGS = {
    "passed": "system-out",
    "undecided": "system-out",
    "failed": "failure",
    "skipped": "skipped",
    "no limit": "skipped",
}


@settings(deadline=None)
@given(any_checks)
def test_junit_is_well_formed_and_counts_failures_and_what_has_no_limit_whatever_the_texts(checks: Any) -> None:
    root = ElementTree.fromstring(junit.dump(replace(FAILING, checks=tuple(checks))).encode())
    tags = [TAGS[check.state] for check in checks]
    counts = {"tests": len(tags), "failures": tags.count("failure"), "errors": 0, "skipped": tags.count("skipped")}
    assert {name: int(value) for name, value in root.items()} == counts
    assert [case[0].tag for case in root.iter("testcase")] == tags
    for case, check in zip(root.iter("testcase"), checks):
        texts = [(case.get("name"), check.name)]
        if check.state == "failed":
            texts.append((case[0].get("message"), check.message))
        for text, original in texts:  # what XML cannot say is marked, and nothing that can be read is lost
            assert text is not None
            assert len(text) == len(original)
            assert all(a == b or (a == "\ufffd" and not b.isprintable()) for a, b in zip(text, original))


def test_junit_is_written_or_it_is_as_one_sentence_why_not(tmp_path: Path) -> None:
    file = tmp_path / "new" / "folder" / "gate.xml"
    junit.write(FAILING, file)
    assert file.read_text("utf-8") == junit.dump(FAILING)
    for place in (tmp_path, file / "gate.xml", file / "in" / "between" / "gate.xml", tmp_path / ("long" * 100)):
        with pytest.raises(EvalkitError, match=r"^cannot write .*: [A-Z].*; name another file as junit$"):
            junit.write(FAILING, place)


# --- GitHub


def test_a_comment_is_the_summary_and_its_texts_notify_nobody_and_link_to_nothing(tmp_path: Path) -> None:
    loss = Loss("q1", "does @octocat fix #12 or GH-3 of acme/tool#4, see https://example.org", 0.9, 0.1, MOVES)
    summary = markdown.gate(replace(FAILING, losses=(loss,)))
    github.write_comment(summary, tmp_path / "new" / "comment.md")
    written = (tmp_path / "new" / "comment.md").read_text("utf-8")
    assert written.replace("<!-- -->", "") == summary
    for live in ("@octocat", "#12", "GH-3", "tool#4", "https://example"):
        assert live in summary
        assert live not in written
    assert "| nDCG@10 | 0.8000 | 0.7000 |" in written
    with pytest.raises(EvalkitError, match=r"^cannot write .*: [A-Z].*; name another file as markdown$"):
        github.write_comment(summary, tmp_path)


UNDECIDED = (
    "::warning title=evalkit gate%3A AP@100::undecided: 0.4000 -> 0.3900, 50%25 of it:%0A"
    "about 310 queries would decide it"
)


def test_a_failed_check_is_an_error_one_let_pass_a_warning_and_only_a_gate_that_holds_has_a_notice() -> None:
    warning = f"::warning title=evalkit gate%3A truncated::31.0%25{CHECKS[1].message.removeprefix('31.0%')}"
    assert list(github.annotations(FAILING)) == [
        warning,
        "::error title=evalkit gate%3A nDCG@10::fell 0.8000 -> 0.7000, 100%25 sure:%0Aa drop is shown (p 0.01)",
        UNDECIDED,
        '::error title=evalkit gate%3A score_drift::scores drifted: "a|b" <i> & ]]> moved',
    ]
    assert list(github.annotations(HOLDING)) == [warning, UNDECIDED, f"::notice title=evalkit gate::{GOOD}"]


def test_escapes_are_those_of_the_toolkit() -> None:
    """actions/toolkit, command.ts: % CR LF in data, and : and , in properties too."""
    (line,) = github.annotations(replace(FAILING, checks=(Check("a%b\r\nc:d,e", "failed", "a%b\r\nc:d,e %0A"),)))
    assert line == "::error title=evalkit gate%3A a%25b%0D%0Ac%3Ad%2Ce::a%25b%0D%0Ac:d,e %250A"


@given(any_checks)
def test_an_annotation_is_one_line_that_the_runner_reads_back_whatever_the_texts(checks: Any) -> None:
    reported = [check for check in checks if check.state in ("failed", "undecided", "skipped")]
    lines = list(github.annotations(replace(FAILING, checks=tuple(checks))))
    assert len(lines) == len(reported) + all(check.state != "failed" for check in checks)
    for check, line in zip(reported, lines):
        [(level, title, message)] = re.findall(r"\A::(\w+) title=([^:,\r\n]*)::([^\r\n]*)\Z", line)
        for code, char in (("%0D", "\r"), ("%0A", "\n"), ("%3A", ":"), ("%2C", ","), ("%25", "%")):
            title, message = title.replace(code, char), message.replace(code, char) if char not in ":," else message
        assert (level, title) == ("error" if check.state == "failed" else "warning", f"evalkit gate: {check.name}")
        assert message == ("undecided: " if check.state == "undecided" else "") + check.message


def test_annotations_are_wanted_in_a_job_of_github_actions(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("GITHUB_ACTIONS", raising=False)
    assert not github.wanted()
    for value, wanted in (("true", True), ("false", False), ("", False)):
        monkeypatch.setenv("GITHUB_ACTIONS", value)
        assert github.wanted() is wanted


def test_the_summary_is_appended_to_what_the_job_wrote_and_to_nothing_without_a_file(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("GITHUB_STEP_SUMMARY", raising=False)
    github.append_summary("lost")
    assert list(tmp_path.iterdir()) == []
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(tmp_path / "summary.md"))
    (tmp_path / "summary.md").write_text("# before\n", "utf-8")
    github.append_summary("first: 巴黎")
    github.append_summary("second: \ud83d")
    assert (tmp_path / "summary.md").read_text("utf-8") == "# before\n\nfirst: 巴黎\n\nsecond: \\ud83d\n"


def test_a_summary_that_cannot_be_written_is_as_one_sentence(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for where, why in ((tmp_path, "Is a directory"), (tmp_path / "gone" / "summary.md", "No such file or directory")):
        monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(where))
        with pytest.raises(EvalkitError, match=rf"^cannot append to GITHUB_STEP_SUMMARY=.*: {why}$"):
            github.append_summary("text")


# --- Markdown


@settings(deadline=None, max_examples=60)
@given(any_text)
def test_no_text_breaks_a_table_or_starts_html(text: Any) -> None:
    check = Check(f"a{text}", "failed", text)
    loss = Loss("q1", text, 1.0, 0.0, (Move(f"d{text}", text, 1, 1, None),))
    report = markdown.gate(replace(FAILING, checks=(check,), losses=(loss,), changed=(f"a: {text}",)))
    parsed = MarkdownIt("commonmark").enable("table").parse(report)
    kinds = Counter(token.type for token in parsed)
    assert (kinds["table_open"], kinds["tr_open"], kinds["th_open"], kinds["td_open"]) == (1, 4, 9, 3 * 9)
    assert kinds["list_item_open"] == 4  # the failed check, the changed setting, the passage that moved, all checks
    html = [part for token in parsed for part in (token, *(token.children or ())) if part.type.startswith("html")]
    assert [token.content.strip() for token in html] == ["<details><summary>All checks</summary>", "</details>"]


# --- the terminal


def shown(verdict: Verdict, capsys: pytest.CaptureFixture[str]) -> list[str]:
    terminal.show_gate(verdict, "ci.json")
    return capsys.readouterr().out.splitlines()


def test_the_terminal_names_what_failed_and_ends_with_the_outcome(
    capsys: pytest.CaptureFixture[str],
) -> None:
    lines = shown(FAILING, capsys)
    assert "differs from the baseline: reranker model: good -> worse|<b>" in lines
    assert "bm25 + cross_encoder, against ci.json" in "\n".join(lines)
    assert {"passed: first_stage, RR@10", "no limit: unjudged, p50_ms 12.3"} <= set(lines)
    expected = [
        f"{check.state.upper()} {check.name}: {' '.join(check.message.split())}"
        for check in (CHECKS[1], CHECKS[2], CHECKS[4], CHECKS[5])
    ]
    assert "\n".join(lines).endswith("\n".join(["", *expected, HEADLINE]))
    good = shown(HOLDING, capsys)
    assert good[-1] == GOOD
    assert not [line for line in good if "FAILED" in line or "lost most" in line]


def test_the_terminal_shows_the_queries_that_lost_most_and_where_their_passages_went(
    capsys: pytest.CaptureFixture[str],
) -> None:
    lines = shown(FAILING, capsys)
    start = lines.index("queries that lost most:")
    assert lines[start + 1 : start + 6] == [
        "  q7: 'who | what\\n<script>?', nDCG@10 0.9000 -> 0.1000",
        "      rank 1 -> 14, grade 2, d1: the answer | with a pipe <b>and a line",
        f"      rank 2 -> not found, grade 1, d2: {'another answer ' * 6}another a\u2026",  # 6 x 15 + 9 characters
        "      rank below 20 -> 1, unjudged, d3: nobody judged this",
        "  q2: '巴黎', nDCG@10 0.6000 -> 0.5000",
    ]


@pytest.mark.parametrize("render", [lambda v, c: "\n".join(shown(v, c)), lambda v, c: markdown.gate(v)])
def test_the_detectable_drop_of_the_slice_is_reported_where_it_is_known(
    render: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    assert SEEN in render(FAILING, capsys).splitlines()
    blind = replace(FAILING, qualities=tuple(replace(quality, detectable=None) for quality in FAILING.qualities))
    assert "with a probability" not in render(blind, capsys)
    assert ALARMS in render(blind, capsys).splitlines()
    limited = replace(FAILING, qualities=tuple(replace(quality, max_drop=0.1) for quality in FAILING.qualities))
    assert "in at most 5 % of the cases, hard limits aside." in render(limited, capsys)


@pytest.mark.parametrize("render", [lambda v, c: "\n".join(shown(v, c)), lambda v, c: markdown.gate(v)])
def test_limits_that_are_the_baselines_are_named_as_such(render: Any, capsys: pytest.CaptureFixture[str]) -> None:
    theirs = replace(FAILING, own_limits=("max_truncated_share 0.44 (else 0.1)", "skip order_changed"))
    line = "limits of the baseline's own: max_truncated_share 0.44 (else 0.1); skip order_changed"
    assert line in [text.replace("\\", "") for text in render(theirs, capsys).splitlines()]
    assert "the baseline's own" not in render(FAILING, capsys)


def test_lines_for_programs_are_shown_as_they_are(capsys: pytest.CaptureFixture[str]) -> None:
    lines = [*github.annotations(FAILING), "[bold]" + "word " * 100 + "end", ":heart: urn:a:1 [/]"]
    terminal.show_lines(lines)
    assert capsys.readouterr().out == "\n".join([*lines, ""])
