"""Chunks in reports: how passages were split, and what truncating them would lose."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from evalkit.report import markdown
from evalkit.report.content import chunks as content
from evalkit.report.content import trial as tables
from evalkit.report.html import pages
from evalkit.results.reading import read
from evalkit.results.result import finished
from evalkit.results.schema import Change, Chunks, MeasureTests, Result, Truncation
from evalkit.types import ChunkCounts
from tests.helpers.command_line import run_here
from tests.report.test_folder import make_trial

COUNTS = ChunkCounts(
    by="tokens", size=192, overlap=96, aggregate="max", passages=5, split_passages=3, chunks=11, most_chunks=4
)
TEST = MeasureTests((0.01, 0.03), 0.2, 0.3, 0.034, 0.068, 0.068, 0.5, 0.1)


def truncating(**counted: int) -> Result:
    """A result of three queries whose reranker reads 256 tokens of a pair; `counted` extends its counts."""
    done = finished(make_trial())
    reranker: Any = {**done.effective.reranker, "max_length": 256}
    scoring: Any = {**done.effective.scoring, **counted}
    return replace(done, effective=replace(done.effective, reranker=reranker, scoring=scoring))


def result(counts: ChunkCounts = COUNTS, truncated_pairs: int | None = 4) -> Result:
    """A result of three queries whose chunks are better than truncation by 0.02."""
    truncation = Truncation(
        truncated_pairs=truncated_pairs,
        mean={"nDCG@10": 0.4},
        change={"nDCG@10": Change(0.02, (0.01, 0.03), 2, 1, 0, "helped")},
        tests={"nDCG@10": TEST},
        per_query={},
    )
    return replace(truncating(chunk_pairs=12), chunks=Chunks(counts, truncation))


def test_it_says_how_passages_were_split_and_into_how_many_chunks() -> None:
    assert content.intro(result()) == (
        "Passages of more than 192 tokens were split into chunks of so many, 96 of them shared with the chunk before, "
        "and a passage has the highest score of its chunks. That is 3 of 5 candidates, up to 4 chunks each; 5 pairs "
        "became 12 with a chunk."
    )
    best = replace(COUNTS, by="sentences", size=1, aggregate="mean_top", top=3)
    assert content.intro(result(best)).startswith(
        "Passages of more than 1 sentence were split into chunks of so many, 96 of them shared with the chunk before, "
        "and a passage has the mean of the 3 highest scores of its chunks."
    )


def test_it_says_what_truncation_would_lose() -> None:
    found = result()
    after = found.effectiveness.reranked.mean["nDCG@10"]
    assert content.claim(found) == (
        "Against whole passages, of which 4 of 5 pairs are cut to 256 tokens, chunks helped: nDCG@10 0.4000 -> "
        f"{after:.4f} (+0.0200, 95 % interval +0.0100 to +0.0300; 2 queries better, 0 worse, 1 equal)."
    )
    unknown = content.claim(result(truncated_pairs=None))
    assert unknown is not None
    assert unknown.startswith("Against whole passages, chunks helped: ")
    assert content.claim(result(replace(COUNTS, split_passages=0))) == (
        "No candidate has more than 192 tokens: none was split."
    )


def test_the_report_and_the_page_have_the_comparison() -> None:
    found = result()
    report = markdown.trial(found)
    assert "## Chunks or truncation\n" in report
    assert "| 0.4000 | " in report
    assert "| +0.0200 ± 0.0100 | 2/1/0 | 0.034 | 0.068 |" in report
    assert "12 with a chunk, at " in report
    page = pages.trial(found, [], {})
    assert "Chunks or truncation" in page
    assert "Against whole passages" in page


def test_whole_passages_have_no_such_section() -> None:
    assert "Chunks or truncation" not in markdown.trial(finished(make_trial()))


def test_a_verdict_on_truncated_passages_names_chunks_as_a_way_out() -> None:
    assert tables.reranking(truncating(truncated_pairs=5)).endswith("and chunks=tokens scores every part.")


@pytest.mark.parametrize("by", ["tokens", "sentences"])
def test_the_command_line_splits_passages_and_reports_it(by: str, bert_folder: Path, tmp_path: Path) -> None:
    done = run_here(
        f"reranker.model={bert_folder}", "device=cpu", "slice.queries=2", "depth=4", "protocol=none",
        f"chunks={by}", f"chunks.size={ {'tokens': 40, 'sentences': 1}[by]}", "out_dir=out", cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "Against whole passages, of which " in done.stdout
    found = read(tmp_path / "out").result
    assert found.chunks is not None
    assert found.chunks.counts.by == by
    assert found.chunks.truncation is not None
    assert (found.effective.scoring["chunk_pairs"] or 0) > found.effective.scoring["pairs"]
    assert "## Chunks or truncation" in (tmp_path / "out" / "report.md").read_text("utf-8")
