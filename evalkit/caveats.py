"""What a careful reader would want to know before quoting a figure of a trial."""

from evalkit.types import Trial


def caveats(trial: Trial) -> list[str]:
    """Return one sentence for each thing that limits what the figures of `trial` say."""
    facts, scoring, found = trial.effective["slice"], trial.effective["scoring"], []
    reranks = trial.effective["reranker"].get("reranks", True)
    for label, run_name in (("first_stage", "first stage"), ("reranked", "reranked list")):
        if trial.unjudged_at_10[label] > 0.2:
            found.append(
                f"{trial.unjudged_at_10[label]:.0%} of the top 10 of the {run_name} are unjudged and count as "
                "not relevant"
            )
    if facts["judged_docs_without_text"]:
        found.append(
            f"{facts['judged_docs_without_text']} judged passages are not in this slice's corpus and cannot be "
            "found; figures are not comparable with the full collection's"
        )
    if facts["corpus"] != "full":
        found.append(f"the corpus is cut ({facts['corpus']}): a first stage has it easier than on the full collection")
    if facts.get("texts_mended"):
        found.append(f"lone surrogates, which UTF-8 cannot write, became U+FFFD in {facts['texts_mended']} texts")
    if facts.get("ids_escaped"):
        found.append(f"{facts['ids_escaped']} ids with white space or control characters are written percent-encoded")
    if facts["queries_without_relevant"]:
        found.append(f"{facts['queries_without_relevant']} queries have no relevant passage and count 0 in every list")
    if trial.effective["first_stage"].get("from_cache"):
        found.append("the first stage's index came from the cache: its time is that of reading and searching alone")
    if scoring["queries_without_hits"]:
        found.append(f"the first stage found nothing for {scoring['queries_without_hits']} queries; they count 0")
    if reranks and scoring["pairs_unscored"]:
        found.append(
            f"the reranker says nothing of {scoring['pairs_unscored']} of {scoring['pairs']} candidates; they "
            "follow its own in first-stage order"
        )
    if trial.effective["reranker"].get("ranked_but_no_candidate"):
        found.append(
            f"{trial.effective['reranker']['ranked_but_no_candidate']} passages of the reranker's run are not "
            "among the candidates and were left out"
        )
    if scoring["truncated_pairs"]:
        found.append(
            f"{scoring['truncated_pairs']} of {scoring['pairs']} pairs were cut to "
            f"{trial.effective['reranker'].get('max_length') or 'the maximum number of'} tokens"
        )
    if reranks and not scoring["queries_reordered"]:
        found.append("the reranker changed no order: every list is the first stage's")
    if scoring["tied_pairs"]:
        found.append(
            f"{scoring['tied_pairs']} pairs share their score with another one of their query; first-stage order "
            "decides between them"
        )
    for stage_name in ("first_stage", "reranker"):
        if clash := trial.effective[stage_name].get("queries_where_rank_and_score_disagree"):
            found.append(
                f"in the {stage_name.replace('_', ' ')}'s run file rank and score disagree for {clash} queries; "
                "the scores decide"
            )
    if len(trial.slice.queries) < 30:
        count = "1 query is" if len(trial.slice.queries) == 1 else f"{len(trial.slice.queries)} queries are"
        found.append(f"{count} few: only large differences can be told from chance")
    return found
