"""Counts over the scoring of a trial: pairs, truncation, ties, changed orders, tokens."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Required

from annotated_types import Ge
from typing_extensions import TypedDict

from evalkit.evaluation import ranking, trec
from evalkit.types import Run, Scores


class ScoringCounts(TypedDict, total=False):
    """What result.json has of a trial's scoring; older results lack some counts."""

    pairs: int
    chunk_pairs: int | None
    """Pairs of a query and a chunk of a passage that were scored for them; None where passages were scored whole."""
    pairs_from_store: int
    pairs_repeated: int
    """Pairs whose two texts are those of another pair that was computed."""
    pairs_unscored: Required[Annotated[int, Ge(0)]]
    """Pairs that the reranker has no score for."""
    truncated_pairs: int
    unknown_query_share: float | None
    """Share of the tokens of the distinct queries that are not in the vocabulary; None where it is unknown."""
    unknown_passage_share: float | None
    longest_pair_tokens: int | None
    """Tokens of the longest pair before truncation; None where it is unknown."""
    tied_pairs: int
    """Pairs that share their logit with another one of their query."""
    queries_with_ties: int
    queries_with_constant_score: int
    """Queries with several candidates that all have the same logit."""
    first_stage_hits: int
    first_stage_tied_hits: int
    first_stage_queries_with_ties: int
    first_stage_queries_with_constant_score: int
    scores_moved: Mapping[str, int]
    """Hits whose score is another one in the run file, under ``first_stage`` and ``reranked``."""
    queries_reordered: int
    """Queries whose candidates the reranker put into another order."""
    queries_without_hits: int
    tokens: int
    """Tokens of the computed pairs, special tokens included, padding excluded."""
    padding_share: float
    """Share of the computed tokens that are padding, to four places."""
    shared_share: float
    """Share of the tokens not computed again, as pairs of a query begin with the same ones; to four places."""
    budget_halvings: Sequence[str]
    """One sentence for each batch that did not fit into memory and was split."""


def count_scoring(
    scores: Scores, logits: Mapping[str, Mapping[str, float]], first: Run, reranked: Run, depth: int
) -> ScoringCounts:
    """Return the counts of one trial.

    Args:
        scores: the reranker's scores of all candidates.
        logits: the same by query_id and doc_id, without the pairs that have none.
        first: the first stage's run.
        reranked: the reranked run.
        depth: how many candidates of each query were reranked.
    """
    given = [list(of_query.values()) for of_query in logits.values()]
    found = [[hit.score for hit in hits] for hits in first.rankings.values()]
    computed = scores.computed_pairs
    return ScoringCounts(
        pairs=len(scores.logits),
        chunk_pairs=scores.chunk_pairs,
        pairs_from_store=scores.from_store,
        pairs_repeated=0 if computed is None else len(scores.logits) - scores.from_store - computed,
        pairs_unscored=sum(logit is None for logit in scores.logits),
        truncated_pairs=scores.truncated_pairs,
        unknown_query_share=scores.unknown_query_share,
        unknown_passage_share=scores.unknown_passage_share,
        longest_pair_tokens=scores.longest_pair_tokens,
        tied_pairs=sum(map(ranking.count_tied, given)),
        queries_with_ties=_with_ties(given),
        queries_with_constant_score=sum(map(ranking.is_constant, given)),
        first_stage_hits=sum(map(len, found)),
        first_stage_tied_hits=sum(map(ranking.count_tied, found)),
        first_stage_queries_with_ties=_with_ties(found),
        first_stage_queries_with_constant_score=sum(map(ranking.is_constant, found)),
        scores_moved={
            "first_stage": trec.count_adjusted_scores(first),
            "reranked": trec.count_adjusted_scores(reranked),
        },
        queries_reordered=sum(
            [hit.doc_id for hit in hits[:depth]] != [hit.doc_id for hit in reranked.rankings[query_id][:depth]]
            for query_id, hits in first.rankings.items()
        ),
        queries_without_hits=sum(not hits for hits in first.rankings.values()),
        tokens=scores.tokens,
        padding_share=round(scores.padding_share, 4),
        shared_share=round(scores.shared_share, 4),
        budget_halvings=list(scores.budget_halvings),
    )


def _with_ties(scores_of_queries: Sequence[Sequence[float]]) -> int:
    return sum(ranking.count_tied(scores) > 0 for scores in scores_of_queries)
