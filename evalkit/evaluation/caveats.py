"""What a reader has to know before quoting a figure of a trial, one sentence each."""

from collections.abc import Iterator, Mapping
from typing import Any

from evalkit.boundary import languages
from evalkit.evaluation import judged_by
from evalkit.types import Settings, Trial


def caveats(trial: Trial) -> list[str]:
    """Return one sentence for each limitation of the figures of `trial`, in a fixed order."""
    facts, scoring, found = trial.effective["slice"], trial.effective["scoring"], []
    reranks = trial.effective["reranker"].get("reranks", True)
    first_stages = _first_stages(trial)
    for label, run_name in (("first_stage", "first stage"), ("reranked", "reranked list")):
        if trial.unjudged_at_10[label] > 0.2 and (reranks or label == "first_stage"):
            found.append(
                f"{trial.unjudged_at_10[label]:.0%} of the top 10 of the {run_name} are unjudged and count as "
                "not relevant"
            )
    if by_no_person := judged_by.caveat(facts):
        found.append(by_no_person)
        judge = facts["judged_by"]["judge"]
        if judged_by.is_its_own_judge(judge, trial.effective["reranker"]):
            found.append(
                f"judge {judge} has the name of the reranker: a model that judges its own ranking agrees with it"
            )
    found += _of_the_corpus(trial)
    if facts.get("texts_mended"):
        found.append(
            f"lone surrogates, which UTF-8 cannot encode, were replaced by U+FFFD in {facts['texts_mended']} texts"
        )
    if facts.get("ids_escaped"):
        found.append(f"{facts['ids_escaped']} ids with white space or control characters are written percent-encoded")
    if facts["queries_without_relevant"]:
        found.append(f"{facts['queries_without_relevant']} queries have no relevant passage and count 0 in every list")
    found += _of_exclusions(facts, first_stages)
    found += _of_relevance(facts)
    found += _of_the_language(facts, first_stages)
    found += _of_the_reading(facts)
    if trial.effective["first_stage"].get("from_cache"):
        found.append("the first stage's index came from the cache: its time is that of reading and searching alone")
    if scoring["queries_without_hits"]:
        found.append(f"the first stage found nothing for {scoring['queries_without_hits']} queries; they count 0")
    if reranks and scoring["pairs_unscored"]:
        found.append(
            f"the reranker gave no score to {scoring['pairs_unscored']} of {scoring['pairs']} candidates; they "
            "follow the scored ones in first-stage order"
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
    for who, counted in (("reranker", scoring), *first_stages.items()):
        for side, plural in (("query", "queries"), ("passage", "passages")):
            if (share := counted.get(f"unknown_{side}_share")) and share > 0.05:
                found.append(
                    f"{share:.0%} of the tokens of the {plural} are unknown to the {who}'s tokenizer ([UNK]): it was "
                    "not made for this language"
                )
    for who, part in (*first_stages.items(), ("reranker", trial.effective["reranker"])):
        if "would give other ids" in (source := str(part.get("tokenizer_source"))):
            found.append(f"the {who}'s ids are those of {source}: tools that follow the class get other scores")
    if trial.effective["reranker"].get("self_check", True) is None:
        found.append(
            "reranker.self_check=false: it was not checked that every scoring path gives a pair the same score"
        )
    if reranks and not scoring["queries_reordered"]:
        found.append("the reranker changed no order: every list is the first stage's")
    for stage_name in ("first_stage", "reranker"):
        found += trial.effective[stage_name].get("notes", ())
    found += _depth(trial.effective)
    found += _ties(trial.effective)
    found += _rank_columns(first_stages, trial.effective["reranker"])
    if len(trial.slice.queries) < 30:
        count = "1 query is" if len(trial.slice.queries) == 1 else f"{len(trial.slice.queries)} queries are"
        found.append(f"{count} few: only large differences can be distinguished from chance")
    return found


def _first_stages(trial: Trial) -> dict[str, Settings]:
    """Return what the first stage describes under its name in a sentence; of a fusion, what each member does."""
    if trial.fused is None:
        return {"first stage": trial.effective["first_stage"]}
    return {f"first stage {name}": {**one.facts, "name": name} for name, one in trial.fused.members.items()}


def _of_the_corpus(trial: Trial) -> Iterator[str]:
    """Yield what the corpus lacks, for a first stage that searches it or a finished run, which searched its own."""
    facts, docs = trial.effective["slice"], trial.slice.docs
    first_stages = _first_stages(trial).values()
    is_run = all("queries_of_other_slices" in one for one in first_stages)
    if absent := facts["judged_docs_without_text"]:
        if is_run:
            ranked = {(q, hit.doc_id) for q, hits in trial.first_stage.rankings.items() for hit in hits}
            ranks = sum((q, d) in ranked and d not in docs for q, grades in trial.slice.qrels.items() for d in grades)
            yield (
                f"{absent} judged passages have no text in this slice's corpus; the finished run ranks {ranks} of "
                "them, which count where it ranks them"
            )
        else:
            yield (
                f"{absent} judged passages are not in this slice's corpus and cannot be found; figures are not "
                "comparable with the full collection's"
            )
    if facts["corpus"] != "full":
        yield f"the corpus is cut ({facts['corpus']}): " + (
            "this does not affect a finished run, which searched a corpus of its own"
            if is_run
            else "retrieval is easier than on the full collection"
        )
    if dropped := facts.get("empty_docs_dropped"):
        ranked_empty = sum(one.get("empty_hits", 0) for one in first_stages)
        yield f"{dropped} empty passages were left out of the corpus (slice.empty_docs=drop)" + (
            f", and so were {ranked_empty} hits of the finished run that are such passages" if ranked_empty else ""
        )


def _of_exclusions(facts: Settings, first_stages: Mapping[str, Settings]) -> Iterator[str]:
    """Yield which passages are excluded from retrieval, and which are not although they have the id of a query."""
    about = facts.get("exclusions")
    if about:
        mode, hits = about["identical_ids"], sum(one.get("excluded_hits", 0) for one in first_stages.values())
        if out := about["own_passages_left_out"]:
            why = "" if mode == "drop" else ", its text too and not judged relevant,"
            yield (
                f"{out} queries are passages themselves: the passage with the query's id{why} is excluded from "
                f"retrieval for it (slice.identical_ids={mode}; keep allows it)"
            )
        if kept := about["queries_with_the_id_of_a_passage"] - about["own_passages_left_out"]:
            why = "" if mode == "keep" else ", of another text or judged relevant,"
            yield (
                f"{kept} queries have the id of a passage{why} which can be retrieved for them "
                f"(slice.identical_ids={mode}; drop excludes such passages, as BEIR's own evaluation does)"
            )
        if about["listed"]:
            absent = about["listed_without_passage"]
            yield (
                f"{about['queries_with_a_list']} queries have a list of passages that are excluded from retrieval for "
                f"them, {about['listed']} in all" + (f", of which {absent} are not in the corpus" if absent else "")
            )
        if hits:
            yield f"{hits} hits of the first stage are excluded passages and were removed before the depth was counted"
        if about["judgments_left_out"]:
            yield f"{about['judgments_left_out']} judgments of excluded passages count in no measure"
    if same := facts.get("queries_that_are_another_passage"):
        yield (
            f"{same} queries are, word for word, an unjudged passage of another id, which ranks high; "
            "excluded_ids in queries.jsonl can list such passages"
        )


def _of_relevance(facts: Settings) -> Iterator[str]:
    level = facts["relevance_level"]
    if (lowest := facts.get("lowest_grade")) is not None:
        means = facts.get("lowest_grade_means")
        yield (
            f"no judged grade lies below the relevance level {level} (the lowest is {lowest}"
            + (f': "{means}"' if means else "")
            + "), so every judged passage counts as relevant; slice.relevance_level sets another"
        )
    official = ", ".join(facts.get("official_measures", ()))
    if facts.get("relevance_level_from") == "official_measures":
        yield f"grade {level} and above is relevant, as the collection's official measures have it ({official})"
    if stated := facts.get("official_relevance_level"):
        yield (
            f"grade {level} and above is relevant here, and {stated} and above in the collection's official measures "
            f"({official})"
        )


def _of_the_language(facts: Settings, first_stages: Mapping[str, Settings]) -> Iterator[str]:
    for first_stage in first_stages.values():
        analysis = first_stage.get("analysis")
        if isinstance(analysis, dict) and analysis["kind"] != "bigrams" and not (
            analysis["stopwords"] or analysis["stemmer"]
        ):  # fmt: skip
            yield (
                f"{first_stage['name']} has no stopwords and no stemmer for "
                f"{languages.name_and_code(analysis['lang'])} (analysis: {analysis['kind']}): over a weaker first "
                "stage any reranker looks better"
            )
    if stated := facts.get("lang_of_the_collection"):
        set_to = languages.name_and_code(facts["lang"])
        yield f"slice.lang is {set_to}, but the collection declares its queries as {stated}"


def _of_the_reading(facts: Settings) -> Iterator[str]:
    """Yield what was given and not used."""
    yield from (f"without effect: {idle}" for idle in facts.get("without_effect", ()))
    if titles := facts.get("query_titles_left_out"):
        yield f"{titles} queries have a title, which is no part of the query: as in BEIR, a query is its text alone"
    if judged := facts.get("judged_queries_without_text"):
        yield f"{judged} queries have judgments and no text in the collection: they are left out"


def _depth(effective: Any) -> list[str]:
    most, depth = effective["reranker"].get("most_ranked_of_a_query", 0), effective["depth"]
    if most <= depth:
        return []
    return [
        f"the reranker's run ranks up to {most} passages of a query, and depth={depth} judges it on the first "
        f"{depth} candidates alone; depth=null judges all that it ranks"
    ]


def _ties(effective: Any) -> list[str]:
    """Return which lists have ties or constant scores, and how ties are broken."""
    scoring, found = effective["scoring"], []
    shared = "share their score with another one of their query"
    if tied := scoring["first_stage_tied_hits"]:
        found.append(
            f"{tied} of {scoring['first_stage_hits']} hits of the first stage {shared}, in "
            f"{scoring['first_stage_queries_with_ties']} queries; {_rule(effective['first_stage'], 'ascending doc_id')}"
        )
    if tied := scoring["tied_pairs"]:
        found.append(f"{tied} pairs {shared}; {_rule(effective['reranker'], 'first-stage order')}")
    for who, key in (("first stage", "first_stage_"), ("reranker", "")):
        if constant := scoring[f"{key}queries_with_constant_score"]:
            found.append(
                f"the {who} gives one score to all candidates in {constant} queries: these scores order nothing"
            )
    return found


def _rule(part: Any, ours: str) -> str:
    """Return how ties are broken: by the part's own rule, or the `order` setting of a run from a file, else `ours`."""
    rules = {"score": "descending doc_id, as in trec_eval", "rank": "score and then descending doc_id"}
    return f"ties are broken by {part.get('tie_rule') or rules.get(part.get('order'), ours)}"


def _rank_columns(first_stages: Mapping[str, Settings], reranker: Settings) -> list[str]:
    found = []
    parts = [(who, "first_stage", facts) for who, facts in first_stages.items()]
    for who, part, facts in (*parts, ("reranker", "reranker", reranker)):
        if clash := facts.get("queries_where_rank_and_score_disagree"):
            decides = (
                f"the rank column is used ({part}.order=rank), and trec_eval gives other figures"
                if facts.get("order") == "rank"
                else f"score and then descending doc_id are used, as in trec_eval ({part}.order=rank uses the ranks)"
            )
            found.append(f"in the {who}'s run file rank and score disagree for {clash} queries; {decides}")
    return found
