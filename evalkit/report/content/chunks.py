"""Rows and sentences on passages that were scored in chunks, and on what truncating them would lose."""

from evalkit.report.content.numbers import counted, interval, measure_value, p_value, plus_minus
from evalkit.results.schema import Chunks, Result, Truncation
from evalkit.types import ChunkCounts

TITLE = "Chunks or truncation"

_SCORES = {"max": "the highest score of its chunks", "first": "the score of its first chunk"}


def intro(result: Result) -> str:
    """Return how passages were split, and how many; for a result with chunks."""
    assert result.chunks is not None
    counts, scoring = result.chunks.counts, result.effective.scoring
    score = _SCORES.get(counts.aggregate, f"the mean of the {counts.top} highest scores of its chunks")
    pairs, chunk_pairs = scoring.get("pairs", 0), scoring.get("chunk_pairs")
    many = "" if chunk_pairs is None else f"; {counted(pairs, 'pair')} became {chunk_pairs:,} with a chunk"
    return (
        f"Passages of more than {_size(counts)} were split into chunks of so many, {counts.overlap:,} of them shared "
        f"with the chunk before, and a passage has {score}. That is {counts.split_passages:,} of "
        f"{counted(counts.passages, 'candidate')}, up to {counted(counts.most_chunks, 'chunk')} each{many}."
    )


def claim(result: Result) -> str | None:
    """Return a sentence on what truncation would lose in the first measure; None where that was not computed."""
    chunks, name = result.chunks, next(iter(result.effectiveness.delta))
    if chunks is None or chunks.truncation is None or name not in chunks.truncation.change:
        return None
    truncation = chunks.truncation
    if not chunks.counts.split_passages:
        return f"No candidate has more than {_size(chunks.counts)}: none was split."
    change = truncation.change[name]
    ends = interval(*change.ci95)
    return (
        f"Against whole passages{_cut(result, truncation)}, chunks {change.verdict}: {name} "
        f"{measure_value(truncation.mean[name])} -> {measure_value(result.effectiveness.reranked.mean[name])} "
        f"({change.mean:+.4f}{f', 95 % interval {ends}' if ends else ''}; {change.wins} queries better, "
        f"{change.losses} worse, {change.ties} equal)."
    )


def _size(counts: ChunkCounts) -> str:
    return counted(counts.size, counts.by.removesuffix("s"))


def _cut(result: Result, truncation: Truncation) -> str:
    pairs, most = result.effective.scoring.get("pairs"), result.effective.reranker.get("max_length")
    if truncation.truncated_pairs is None or not pairs:
        return ""
    return f", of which {truncation.truncated_pairs:,} of {counted(pairs, 'pair')} are cut to {most} tokens"


def columns() -> list[str]:
    """Return the headings of `rows`."""
    return [
        "measure", "truncated", "chunks", "chunks - truncated, 95 % interval", "win/tie/loss", "p random.", "p Holm",
    ]  # fmt: skip


def rows(result: Result, chunks: Chunks) -> list[list[str]]:
    """Return for each measure its value for truncated passages and for chunks, and the difference with its tests.

    Args:
        result: a finished trial.
        chunks: what it has on its chunks.
    """
    if chunks.truncation is None:
        return []
    tests = chunks.truncation.tests
    return [
        [
            name,
            measure_value(chunks.truncation.mean.get(name)),
            measure_value(result.effectiveness.reranked.mean.get(name)),
            plus_minus(change.mean, *change.ci95),
            f"{change.wins}/{change.ties}/{change.losses}",
            *(
                p_value(getattr(tests[name], key) if name in tests else None, "-")
                for key in ("randomization_p", "holm_p")
            ),
        ]
        for name, change in chunks.truncation.change.items()
    ]
