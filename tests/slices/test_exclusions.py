"""Passages excluded from retrieval: a query that is a passage itself, and what a collection excludes for a query."""

import json
import math
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evalkit.boundary.errors import EvalkitError
from evalkit.evaluation.measure_names import parse
from evalkit.evaluation.measures import evaluate
from evalkit.first_stage.bm25 import BM25
from evalkit.first_stage.search import search
from evalkit.results.same_data import Fingerprints, SliceIdentity, refuse_other_data
from evalkit.slices import beir
from evalkit.slices.exclusions import same_text
from evalkit.slices.fingerprints import fingerprints
from evalkit.types import Hit, Run, Slice
from tests.helpers.command_line import run_here

CLAIMS = {
    "a0": "vegetarian food helps the planet a lot",
    "a1": "nuclear power is a safe and clean energy",
    "a2": "school uniforms make all children equal",
    "a3": "zoos protect endangered animals from hunters",
    "a4": "long prison sentences reduce violent crime",
    "a5": "social networks harm teenagers and their sleep",
}
"""Six queries as ArguAna has them: the answer to a claim is its counterclaim, and claims are passages too."""


def counter(claim: Any) -> Any:
    return "critics doubt that " + " ".join(claim.split()[:3])


def arguments(
    tmp_path: Path,
    own: Any = ("a0", "a1", "a2", "a3"),
    judged: Any = (),
    listed: Any = None,
    text: Any = lambda claim: claim,
) -> Any:
    """Write a BEIR folder whose corpus holds every counterclaim, and of the claims those named `own`."""
    folder = tmp_path / "arguments"
    (folder / "qrels").mkdir(parents=True)
    corpus = [{"_id": f"b{i}", "title": "", "text": counter(claim)} for i, claim in enumerate(CLAIMS.values())]
    corpus += [{"_id": q, "title": "", "text": text(CLAIMS[q])} for q in own]
    queries = [{"_id": q, "text": claim, **(listed or {}).get(q, {})} for q, claim in CLAIMS.items()]
    rows = [(f"a{i}", f"b{i}", 1) for i in range(6)] + [(q, q, grade) for q, grade in judged]
    for name, records in (("corpus", corpus), ("queries", queries)):
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(r) + "\n" for r in records), "utf-8")
    header = "query-id\tcorpus-id\tscore\n"
    (folder / "qrels" / "test.tsv").write_text(header + "".join(f"{q}\t{d}\t{g}\n" for q, d, g in rows), "utf-8")
    return folder


def found(data: Any, depth: Any = 10) -> Any:
    return search(BM25().search, data, depth)


def ndcg(data: Any, depth: Any = 10) -> Any:
    return evaluate(found(data, depth)[0], data.qrels, [parse("nDCG@10", depth)], 1).mean()["nDCG@10"]


# --- a query that is a passage itself ---------------------------------------------------------------------------------


def test_a_query_does_not_find_itself(tmp_path: Path) -> None:
    data = beir.load(str(arguments(tmp_path)))
    assert ndcg(data) == 1.0
    assert data.excluded == {q: {q} for q in ("a0", "a1", "a2", "a3")}


def test_a_query_that_stays_as_a_passage_takes_rank_1_within_the_depth(tmp_path: Path) -> None:
    data = beir.load(str(arguments(tmp_path)), identical_ids="keep")
    assert ndcg(data) == pytest.approx((4 / math.log2(3) + 2) / 6)  # four answers at rank 2, two at rank 1
    assert ndcg(data, depth=1) == pytest.approx(2 / 6)


def test_a_query_among_the_passages_is_left_out_before_the_depth_is_applied(tmp_path: Path) -> None:
    first, facts = found(beir.load(str(arguments(tmp_path))), depth=1)
    assert {q: [hit.doc_id for hit in hits] for q, hits in first.rankings.items()} == {
        f"a{i}": [f"b{i}"] for i in range(6)
    }
    assert facts == {"excluded_hits": 4}


@pytest.mark.parametrize(
    "text",
    [str.upper, "  {} . ".format, "Society: food, work {}".format, lambda claim: claim.replace("a ", "")],
    ids=["other case", "spaces and full stop", "a title in front", "a word less"],
)  # fmt: skip
def test_a_query_among_the_passages_is_recognised_up_to_case_signs_title_and_typos(tmp_path: Path, text: Any) -> None:
    assert len(beir.load(str(arguments(tmp_path, text=text))).excluded) == 4


def test_an_id_that_is_equal_by_chance_stays_unless_it_is_to_be_dropped(tmp_path: Path) -> None:
    folder = str(arguments(tmp_path, text=lambda claim: f"a leaflet on another matter, number {len(claim)}"))
    included, dropped = beir.load(folder), beir.load(folder, identical_ids="drop")
    assert included.excluded == {}
    assert included.facts["exclusions"]["queries_with_the_id_of_a_passage"] == 4
    assert len(dropped.excluded) == 4


def test_a_query_that_is_judged_relevant_for_itself_stays_unless_it_is_to_be_dropped(tmp_path: Path) -> None:
    folder = str(arguments(tmp_path, judged=[("a0", 1), ("a1", 0)]))
    included, dropped = beir.load(folder), beir.load(folder, identical_ids="drop")
    assert set(included.excluded) == {"a1", "a2", "a3"}
    assert included.qrels["a0"] == {"b0": 1, "a0": 1}
    # A passage that cannot be retrieved cannot be missed either: its judgment counts in no measure.
    assert dropped.qrels["a0"] == {"b0": 1}
    assert dropped.facts["exclusions"]["judgments_left_out"] == 2


@pytest.mark.shared
def test_miracl_s_queries_have_the_ids_of_other_passages_which_are_not_excluded(shared: Path) -> None:
    data = beir.load(str(shared / "data" / "miracl-yo"), split="dev", lang="yo")
    about = data.facts["exclusions"]
    assert (about["queries_with_the_id_of_a_passage"], about["own_passages_left_out"]) == (119, 0)
    assert sum(q in grades for q, grades in data.qrels.items()) == 46


def test_a_query_of_which_nothing_judged_is_left_is_refused(tmp_path: Path) -> None:
    folder = arguments(tmp_path, judged=[("a0", 1)])
    path = folder / "qrels" / "test.tsv"
    path.write_text(path.read_text("utf-8").replace("a0\tb0\t1\n", ""), "utf-8")
    with pytest.raises(
        EvalkitError, match=r"every judged passage of query 'a0' is excluded from retrieval.*identical_ids=keep"
    ):
        beir.load(str(folder), identical_ids="drop")


def test_a_mode_that_there_is_not_is_refused(tmp_path: Path) -> None:
    with pytest.raises(EvalkitError, match=r"slice\.identical_ids='never': choose from auto, keep, drop"):
        beir.load(str(arguments(tmp_path)), identical_ids="never")


def test_other_texts_are_not_the_same_one() -> None:
    assert not same_text("what is light", "Light It is fast.")
    assert not same_text("python", "a long passage about snakes of all kinds, and then about python")
    assert not same_text("!", "?")
    assert not same_text("python", "x" * 201 + "python")  # a passage that ends like the query, under its id by chance
    assert same_text("巴黎是法国的首都。", "巴黎 巴黎是法国的首都")


# --- lists of a collection --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("place", [lambda ids: {"excluded_ids": ids}, lambda ids: {"metadata": {"excluded_ids": ids}}])
def test_a_query_does_not_find_what_its_list_excludes(tmp_path: Path, place: Any) -> None:
    """As in BRIGHT, where "N/A" stands for no passage."""
    listed = {"a0": place(["a1", "b3", "b3"]), "a5": place(["N/A"]), "a4": place(["gone"])}
    data = beir.load(str(arguments(tmp_path, own=(), listed=listed)))
    assert data.excluded == {"a0": {"a1", "b3"}, "a4": {"gone"}}
    about = data.facts["exclusions"]
    assert (about["queries_with_a_list"], about["listed"], about["listed_without_passage"]) == (2, 3, 2)


@pytest.mark.parametrize("ids", ["b1", {"b1": 1}, [1.5], [True]])
def test_a_list_that_is_none_is_refused_by_its_line(tmp_path: Path, ids: Any) -> None:
    folder = arguments(tmp_path, listed={"a2": {"excluded_ids": ids}})
    with pytest.raises(EvalkitError, match=r"queries\.jsonl, line \d+: excluded_ids is .*a list of passage ids"):
        beir.load(str(folder))


def test_ids_with_spaces_are_excluded_under_the_name_that_they_get(tmp_path: Path) -> None:
    folder = arguments(tmp_path, own=(), listed={"a0": {"excluded_ids": ["page 7"]}})
    with (folder / "corpus.jsonl").open("a", encoding="utf-8") as out:
        out.write(json.dumps({"_id": "page 7", "text": CLAIMS["a0"]}) + "\n")
    data = beir.load(str(folder))
    assert data.excluded == {"a0": {"page%207"}}
    assert ndcg(data) == 1.0


# --- the fingerprint --------------------------------------------------------------------------------------------------


def test_a_slice_without_exclusions_has_the_fingerprint_that_it_always_had(tmp_path: Path) -> None:
    data = beir.load(str(arguments(tmp_path, own=())))
    assert "exclusions" not in data.facts
    assert data.facts["fingerprints"] == fingerprints(data.queries, data.docs, data.qrels)
    assert set(data.facts["fingerprints"]) == {"queries", "docs", "judgments"}


def test_what_is_excluded_changes_the_fingerprint_and_nothing_else_of_it(tmp_path: Path) -> None:
    folder = str(arguments(tmp_path))
    included, dropped = (beir.load(folder, identical_ids=mode) for mode in ("keep", "drop"))
    assert included.fingerprint != dropped.fingerprint
    parts = dropped.facts["fingerprints"]
    assert {name: part for name, part in parts.items() if name != "excluded"} == included.facts["fingerprints"]


def test_results_with_and_without_exclusions_are_not_compared(tmp_path: Path) -> None:
    folder = str(arguments(tmp_path))
    one, other = (
        SliceIdentity(data.name, data.lang, 1, Fingerprints(**data.facts["fingerprints"]))
        for data in (beir.load(folder, identical_ids=mode) for mode in ("keep", "drop"))
    )
    with pytest.raises(
        EvalkitError, match=r"the passages that may not be retrieved \(slice\.identical_ids, excluded_ids"
    ):
        refuse_other_data(one, other, (CLAIMS, CLAIMS), ("one", "the other"))


# --- any first stage --------------------------------------------------------------------------------------------------

DOCS = [f"d{i}" for i in range(12)]


@settings(deadline=None)
@given(
    order=st.permutations(DOCS),
    hits=st.integers(0, 12),
    excluded=st.sets(st.sampled_from(DOCS)),
    empty=st.sets(st.sampled_from(DOCS)),
    depth=st.integers(1, 12),
)
def test_a_search_gives_the_best_passages_that_may_be_retrieved_in_their_order(
    order: Any, hits: Any, excluded: Any, empty: Any, depth: Any
) -> None:
    finished = [Hit(doc_id, -float(rank)) for rank, doc_id in enumerate(order[:hits])]
    lists = {"q": frozenset(excluded)} if excluded else {}
    data = Slice("s", "en", {"q": "text"}, {}, {}, "", excluded=lists, empty_docs=frozenset(empty))
    run, facts = search(lambda _, deep: Run("run", {"q": tuple(finished[:deep])}), data, depth)
    allowed = [hit for hit in finished if hit.doc_id not in excluded | empty]
    assert list(run.rankings["q"]) == allowed[:depth]
    assert sum(facts.values()) == sum(hit.doc_id in excluded | empty for hit in finished[:depth])


# --- what a user sees -------------------------------------------------------------------------------------------------


def test_a_report_counts_the_queries_that_could_and_could_not_find_themselves(tmp_path: Path) -> None:
    folder = arguments(tmp_path, judged=[("a0", 1)])
    with (folder / "corpus.jsonl").open("a", encoding="utf-8") as out:
        out.write(json.dumps({"_id": "copy", "text": CLAIMS["a5"]}) + "\n")
    done = run_here("slice=beir", f"slice.path={folder}", "reranker=none", "out_dir=out", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    result = json.loads((tmp_path / "out" / "result.json").read_text("utf-8"))
    warnings = "\n".join(result["warnings"])
    assert "3 queries are passages themselves: the passage with the query's id, its text too and not judged" in warnings
    assert "1 queries have the id of a passage, of another text or judged relevant, which can be retrieved" in warnings
    assert "3 hits of the first stage are excluded passages and were removed before the depth was counted" in warnings
    assert "1 queries are, word for word, an unjudged passage of another id" in warnings
    assert result["effective"]["slice"]["exclusions"]["identical_ids"] == "auto"


def test_a_finished_run_that_ranks_an_empty_passage_goes_on_with_the_others(
    tmp_path: Path, beir_folder: Any, bert_folder: Any
) -> None:
    with (beir_folder / "corpus.jsonl").open("a", encoding="utf-8") as out:
        out.write(json.dumps({"_id": "void", "title": "", "text": " "}) + "\n")
    run = beir_folder / "first.trec"
    run.write_text("q1 Q0 void 0 99 first\n" + run.read_text("utf-8"), "utf-8")
    done = run_here(
        "slice=beir", f"slice.path={beir_folder}", "slice.empty_docs=drop", "first_stage=trec_run",
        f"first_stage.path={run}", f"reranker.model={bert_folder}", "device=cpu", "depth=3", "protocol=none",
        "out_dir=out", cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    result = json.loads((tmp_path / "out" / "result.json").read_text("utf-8"))
    assert result["effective"]["first_stage"]["empty_hits"] == 1
    assert result["effective"]["scoring"]["pairs"] == 5  # a, b and c of q1, e and d of q2
    assert (
        "1 empty passages were left out of the corpus (slice.empty_docs=drop), and so were 1 hits of the finished run "
        "that are such passages"
    ) in result["warnings"]


def test_a_finished_run_has_no_warning_of_passages_without_a_text(tmp_path: Path, beir_folder: Any) -> None:
    """q1's one relevant passage has no text here; the run, which searched a corpus of its own, ranks it."""
    corpus = beir_folder / "corpus.jsonl"
    lines = [line for line in corpus.read_text("utf-8").splitlines(keepends=True) if '"b"' not in line]
    corpus.write_text("".join(lines), "utf-8")
    done = run_here(
        "slice=beir", f"slice.path={beir_folder}", "first_stage=trec_run", f"first_stage.path={beir_folder}/first.trec",
        "reranker=none", "out_dir=out", cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    warnings = json.loads((tmp_path / "out" / "result.json").read_text("utf-8"))["warnings"]
    assert not any("cannot be found" in one for one in warnings)
    assert any(
        "1 judged passages have no text in this slice's corpus; the finished run ranks 1 of them" in t for t in warnings
    )
