"""What stands in a trial's folder: the numbers that were measured, under the names that were promised."""

import csv
import dataclasses
import json
import math
from pathlib import Path
from typing import Any

import pytest

from evalkit import trial
from evalkit.boundary.errors import EvalkitError
from evalkit.cost.protocol import CostProtocol
from evalkit.evaluation import measures, significance
from evalkit.evaluation.breakdown import ClassRow
from evalkit.evaluation.measure_names import parse
from evalkit.evaluation.trec import read_run
from evalkit.report import folder as results
from evalkit.report import markdown, terminal, tex
from evalkit.report.content import trial as tables
from evalkit.rerankers.none import NoReranker
from evalkit.results.result import effectiveness, failed, finished, to_plain, write_result
from evalkit.results.schema import Result
from evalkit.slices.assemble import assemble
from evalkit.trial import Plan
from evalkit.types import Effectiveness, Hit, Run, Scores, Trial
from tests.conftest import REPOSITORY, key_tree

GOLDEN = REPOSITORY / "tests" / "golden" / "result_keys.json"
NASTY = "a|b <script>alert(1)</script>"
NAMES = ("nDCG@10", "RR@10", "R@3")


def show(result: Any) -> None:
    terminal.show_quality(result)
    terminal.show_cost(result)


class FixedFirstStage:
    """A first stage with given hits."""

    def __init__(self, rankings: Any, name: Any = "fixed") -> None:
        self.rankings, self.name = rankings, name

    def check(self) -> None:
        pass

    def search(self, data: Any, depth: Any) -> Any:
        return Run(self.name, {q: hits[:depth] for q, hits in self.rankings.items()})

    def describe(self) -> Any:
        return {"name": self.name}


class FixedReranker:
    """A reranker with given scores."""

    computes = True

    def __init__(self, logits: Any, name: Any = "oracle", device_name: Any = "a processor") -> None:
        self.logits, self.name, self.device_name = logits, name, device_name

    def check(self) -> None:
        pass

    def load(self) -> None:
        pass

    def score(self, pairs: Any, queries: Any, docs: Any, on_progress: Any = None) -> Any:
        logits = tuple(self.logits[pair] for pair in pairs)
        return Scores(logits, tokens=8 * len(pairs), padded_tokens=10 * len(pairs), tokenize_s=0.25, forward_s=0.5)

    def describe(self) -> Any:
        return {"name": self.name, "precision": "fp32", "device_name": self.device_name, "max_length": 64}


def ranked(*doc_ids: str) -> tuple[Hit, ...]:
    return tuple(Hit(doc_id, float(-rank)) for rank, doc_id in enumerate(doc_ids))


def make_trial(
    name: Any = "tiny",
    first_name: Any = "fixed",
    second_name: Any = "oracle",
    slice_name: Any = "three",
    **reranker: Any,
) -> Trial:
    """Three queries that reranking lifts, lowers, and cannot help, with nothing left to chance but the clock."""
    data = assemble(
        slice_name,
        "en",
        "tests",
        {"q1": 'who, exactly, was "first"?', "q2": "巴黎 | 首都", "q3": "nothing found"},
        {doc_id: f"text of {doc_id}" for doc_id in "abcdef"},
        {"q1": {"a": 0, "b": 3}, "q2": {"d": 1, "e": 2}, "q3": {"f": 2}},
        2,
        {"source": "tests", "corpus": "full"},
    )
    first: Any = FixedFirstStage({"q1": ranked("a", "b", "c"), "q2": ranked("e", "d"), "q3": ()}, first_name)
    logits = {("q1", "a"): 1.5, ("q1", "b"): 2.5, ("q1", "c"): 1.5, ("q2", "d"): 0.5, ("q2", "e"): -0.5}
    second: Any = FixedReranker(logits, second_name, **reranker)
    plan = Plan(name, 3, ["nDCG@10", "RR@10", "R@depth"], CostProtocol(1, 5))
    return trial.run(
        plan,
        data,
        first,
        second,
        {"name": name, "precision": {"name": "fp32"}, "depth": 3},
        {"command": ["python -m evalkit", f"name={name}"], "commit": None},
    )


@pytest.fixture(scope="module")
def done() -> Trial:
    return make_trial()


@pytest.fixture(scope="module")
def written(done: Any, tmp_path_factory: pytest.TempPathFactory) -> Any:
    where = tmp_path_factory.mktemp("trial")
    results.write_trial(done, where)
    return where


NDCG_Q1_BEFORE = 1 / math.log2(3)  # the grade of 3 stands second, and could stand first
NDCG_Q2_AFTER = (1 + 2 / math.log2(3)) / (2 + 1 / math.log2(3))  # grade 1 before grade 2


def test_the_numbers_are_those_of_a_pocket_calculator(done: Any) -> None:
    effect = to_plain(finished(done))["effectiveness"]
    assert effect["queries"] == 3
    assert effect["relevance_level"] == 2
    assert effect["first_stage"]["mean"] == pytest.approx(
        {"nDCG@10": (NDCG_Q1_BEFORE + 1 + 0) / 3, "RR@10": (1 / 2 + 1 + 0) / 3, "R@3": (1 + 1 + 0) / 3}
    )
    assert effect["reranked"]["mean"] == pytest.approx(
        {"nDCG@10": (1 + NDCG_Q2_AFTER + 0) / 3, "RR@10": (1 + 1 / 2 + 0) / 3, "R@3": (1 + 1 + 0) / 3}
    )
    assert effect["ceiling"]["mean"] == pytest.approx({"nDCG@10": 2 / 3, "RR@10": 2 / 3, "R@3": 2 / 3})
    assert effect["delta"] == pytest.approx({"nDCG@10": (NDCG_Q2_AFTER - NDCG_Q1_BEFORE) / 3, "RR@10": 0.0, "R@3": 0.0})
    assert [effect[what]["nDCG@10"] for what in ("wins", "ties", "losses")] == [1, 1, 1]
    assert [effect[what]["R@3"] for what in ("wins", "ties", "losses")] == [0, 3, 0]
    assert effect["unjudged_at_10"] == pytest.approx({"first_stage": 0.2, "reranked": 0.2})  # c, of five
    assert effect["per_query"]["first_stage"]["RR@10"] == {"q1": 0.5, "q2": 1.0, "q3": 0.0}
    assert effect["per_query"]["reranked"]["RR@10"] == {"q1": 1.0, "q2": 0.5, "q3": 0.0}


def test_the_means_are_those_of_the_per_query_values(done: Any) -> None:
    effect = to_plain(finished(done))["effectiveness"]
    for label, values in done.effectiveness.items():
        assert effect[label]["mean"] == values.mean()
    for label in ("first_stage", "reranked"):
        for name, values in effect["per_query"][label].items():
            assert effect[label]["mean"][name] == pytest.approx(sum(values.values()) / 3)


def test_a_finished_result_has_the_promised_keys(done: Any) -> None:
    """The parts that do not depend on slice, first stage and reranker; test_app compares all of a real run's."""
    golden = json.loads(GOLDEN.read_text("utf-8"))
    ours: Any = key_tree(to_plain(finished(done)))
    assert list(ours) == list(golden)
    for part in ("throughput", "memory"):  # a reranker without a model of its own leaves some of them null
        assert ours["cost"].pop(part).keys() == golden["cost"].pop(part).keys()
    assert ours["cost"] == golden["cost"]
    # Counted by a reranker with a tokenizer of its own.
    counted = {"unknown_query_share": "float", "unknown_passage_share": "float", "longest_pair_tokens": "int"}
    for key, kind in counted.items():
        assert (ours["effective"]["scoring"].pop(key), golden["effective"]["scoring"].pop(key)) == ("null", kind)
    assert ours["effective"]["scoring"] == golden["effective"]["scoring"]
    same = {key: value for key, value in ours["effectiveness"].items() if "@" not in json.dumps(value)}
    assert same == {key: golden["effectiveness"][key] for key in same}
    assert ours["effectiveness"].keys() == golden["effectiveness"].keys()
    assert (ours["schema_version"], ours["status"], ours["warnings"]) == ("int", "str", ["str"])


def test_a_failed_result_records_the_settings_and_the_reason() -> None:
    assert to_plain(failed("tiny", {"depth": 3}, {"commit": None}, EvalkitError("no memory"))) == {
        "schema_version": 1,
        "status": "failed",
        "name": "tiny",
        "error": "no memory",
        "error_kind": "EvalkitError",
        "asked": {"depth": 3},
        "provenance": {"commit": None},
    }


def test_cost_is_left_out_where_nothing_was_computed(done: Any) -> None:
    result = finished(dataclasses.replace(done, cost=None))
    assert result.cost is None
    assert tables.cost_line(result) is None
    assert "## Cost" not in markdown.trial(result)


def test_warnings_cover_what_a_careful_reader_would_ask(done: Any) -> None:
    warnings = "\n".join(done.warnings)
    assert "the first stage found nothing for 1 queries; they count 0" in warnings
    assert "2 pairs share their score with another one of their query" in warnings
    assert "3 queries are few" in warnings
    assert "unjudged" not in warnings  # one passage in five is not above a fifth


def test_a_folder_holds_all_its_files_and_no_unfinished_one(written: Any) -> None:
    pictures = [
        f"{name}.{kind}"
        for name in ("before_after", "changes", "latency", "reliability", "scores")
        for kind in ("png", "svg")
    ]
    assert sorted(path.name for path in written.iterdir()) == sorted([
        *pictures, "first_stage.trec", "passages.jsonl", "per_query.csv", "qrels.trec", "report.html", "report.md",
        "reranked.trec", "result.json", "report.tex",
    ])  # fmt: skip
    assert (written / "before_after.png").read_bytes().startswith(b"\x89PNG\r\n")


def test_result_json_is_the_result(written: Any, done: Any) -> None:
    text = (written / "result.json").read_text("utf-8")
    assert json.loads(text) == json.loads(json.dumps(to_plain(finished(done))))
    assert "\\u" not in text  # queries and names of any script stay readable


def test_the_runs_on_disk_give_the_same_order_and_the_same_measures(written: Any, done: Any) -> None:
    wanted = [parse(name, 3) for name in NAMES]
    for label, run in (("first_stage", done.first_stage), ("reranked", done.reranked)):
        file = read_run(written / f"{label}.trec")
        assert file.rank_conflicts == 0
        found = {query_id: [hit.doc_id for hit in hits] for query_id, hits in file.run.rankings.items()}
        assert found == {q: [hit.doc_id for hit in hits] for q, hits in run.rankings.items() if hits}
        again = measures.evaluate(file.run, done.slice.qrels, wanted, done.slice.relevance_level)
        assert again.mean() == pytest.approx(done.effectiveness[label].mean())


def test_the_reranked_run_is_ordered_by_score_ties_by_the_first_stage(done: Any) -> None:
    assert [hit.doc_id for hit in done.reranked.rankings["q1"]] == ["b", "a", "c"]  # a and c tie, a was first
    assert [hit.doc_id for hit in done.reranked.rankings["q2"]] == ["d", "e"]
    assert done.reranked.rankings["q3"] == ()


def test_the_table_per_query_has_a_row_for_each_query(written: Any) -> None:
    with (written / "per_query.csv").open(encoding="utf-8", newline="") as lines:
        rows = list(csv.DictReader(lines))
    expected = [f"{name} {part}" for name in NAMES for part in ("before", "after", "delta")]
    assert list(rows[0]) == ["query_id", "query", "relevant", "hits", *expected]
    assert [row["query_id"] for row in rows] == ["q1", "q2", "q3"]
    assert rows[0]["query"] == 'who, exactly, was "first"?'
    assert [(row["relevant"], row["hits"]) for row in rows] == [("1", "3"), ("1", "2"), ("1", "0")]
    q1, q2, q3 = rows
    assert (q1["RR@10 before"], q1["RR@10 after"], q1["RR@10 delta"]) == ("0.500000", "1.000000", "0.500000")
    assert float(q1["nDCG@10 before"]) == pytest.approx(NDCG_Q1_BEFORE, abs=1e-6)
    assert float(q2["nDCG@10 delta"]) == pytest.approx(NDCG_Q2_AFTER - 1, abs=1e-6)
    assert {q3[column] for column in expected} == {"0.000000"}


def with_deltas(done: Trial, before: list[float], after: list[float]) -> Result:
    """The result of `done` with other values: as many queries as there are numbers."""
    values = [{f"q{i}": v for i, v in enumerate(numbers)} for numbers in (before, after, [1.0] * len(before))]
    others = {label: Effectiveness({"nDCG@10": v}) for label, v in zip(("first_stage", "reranked", "ceiling"), values)}
    found = effectiveness(dataclasses.replace(done, effectiveness=others))
    return dataclasses.replace(finished(done), effectiveness=found)


def test_the_verdict_states_that_reranking_helped(done: Any) -> None:
    # Deltas 0.1 0.2 0.1 0.2 0.1: mean 0.14, s = sqrt(0.012 / 4) = 0.05477, t(0.975, 4) = 2.776, and
    # 2.776 s / sqrt(5) = 0.0680.
    result = with_deltas(done, [0.5] * 5, [0.6, 0.7, 0.6, 0.7, 0.6])
    assert tables.verdict(result) == (
        "Reranking helped: nDCG@10 0.5000 -> 0.6400 (+0.1400, 95 % interval +0.0720 to +0.2080; "
        "5 queries better, 0 worse, 0 equal)."
    )
    assert tables.effectiveness_rows(result) == [["nDCG@10", "0.5000", "0.6400", "+0.1400 ± 0.0680", "5/0/0", "1.0000"]]


def test_the_verdict_states_that_reranking_hurt(done: Any) -> None:
    verdict = tables.verdict(with_deltas(done, [0.6, 0.7, 0.6, 0.7, 0.6], [0.5] * 5))
    assert verdict.startswith("Reranking hurt: nDCG@10 0.6400 -> 0.5000 (-0.1400, 95 % interval -0.2080 to -0.0720;")


def test_the_verdict_states_that_the_difference_is_not_clear(done: Any) -> None:
    verdict = tables.verdict(with_deltas(done, [0.5, 0.5, 0.5, 0.5], [0.9, 0.1, 0.7, 0.5]))
    assert verdict.startswith("Reranking made no clear difference: nDCG@10 0.5000 -> 0.5500 (+0.0500, 95 % interval -")
    assert verdict.endswith("2 queries better, 1 worse, 1 equal).")


def test_one_query_has_no_interval(done: Any) -> None:
    verdict = tables.verdict(with_deltas(done, [0.5], [0.9]))
    assert verdict == (
        "Reranking made no clear difference: nDCG@10 0.5000 -> 0.9000 (+0.4000; 1 queries better, 0 worse, 0 equal)."
    )


def test_an_interval_that_ends_at_1_is_written_with_both_ends(done: Any) -> None:
    # Differences 1 and 0: 0.5 +- 12.706 * 0.7071 / sqrt(2), which no measure can change by.
    wide, narrow = (with_deltas(done, [0.0, 0.0], after) for after in ([1.0, 0.0], [0.5, 0.51]))
    assert tables.effectiveness_rows(wide)[0][3] == "+0.5000 (-1.0000 to +1.0000)"
    assert tables.effectiveness_rows(narrow)[0][3] == "+0.5050 \u00b1 0.0635"  # 12.706 * 0.00707 / sqrt(2)


def test_the_cost_line_names_machine_precision_time_and_memory(done: Any) -> None:
    cost = dataclasses.replace(
        done.cost,
        pairs_per_s=123.4,
        latency=dataclasses.replace(done.cost.latency, p50_ms=10.4, p90_ms=20.6, p99_ms=30.5, pairs_per_query=2.5),
        memory=dataclasses.replace(done.cost.memory, rss_peak_mb=512.3),
    )
    line = tables.cost_line(finished(dataclasses.replace(done, cost=cost)))
    assert line == (
        "Cost at fp32 on a processor: 5 pairs at 123 pairs/s; one query with 2 passages takes 10.4 ms (p50), 20.6 "
        "(p90), 30.5 (p99) in 2 samples; peak process memory 512 MiB."
    )
    on_gpu = dataclasses.replace(cost.memory, cuda_allocated_peak_mb=1000.4, cuda_reserved_peak_mb=1200.0)
    line = tables.cost_line(finished(dataclasses.replace(done, cost=dataclasses.replace(cost, memory=on_gpu))))
    assert "peak GPU memory 1,000 MiB allocated, 1,200 reserved; peak process memory" in str(line)


def test_only_queries_with_candidates_are_timed(done: Any) -> None:
    """Of three queries one has no candidates; five were asked for."""
    assert len(done.cost.latency.samples_ms) == 2
    assert done.cost.latency.pairs_per_query == 2.5
    assert done.cost.pairs == 5


def test_the_report_has_all_parts_of_a_trial(done: Any) -> None:
    report = markdown.trial(finished(done), ["before_after.png"])
    assert report.startswith("# tiny: is the reranker worth it?\n\n**Reranking made no clear difference: nDCG@10 ")
    assert "three: 3 queries, 6 passages, depth 3" in report
    assert "Binary measures count grade 2 and above as relevant" in report
    assert "| measure | fixed | + oracle | delta, 95 % interval | win/tie/loss | ceiling |" in report
    assert "Unjudged passages in the top 10: 20.0% before, 20.0% after." in report
    assert "![Quality before and after reranking](before_after.png)" in report
    assert "- the first stage found nothing for 1 queries; they count 0" in report
    assert "| pairs/s, the model alone | 10.0 |" in report  # 5 pairs in 0.5 s
    assert "| padding, share of the tokens that were computed | 20.0% |" in report
    assert "| scoring.padding_share | 0.2 |" in report
    assert "Command: `python -m evalkit name=tiny`" in report
    assert "samples_ms" not in report  # the raw samples are for result.json
    assert tex.escape(str(tables.cost_line(finished(done)))) in tex.trial(finished(done))


def make_alone() -> Trial:
    """The three queries of `make_trial` as the first stage left them; most of what it found is unjudged."""
    data = make_trial().slice
    first: Any = FixedFirstStage({"q1": ranked("c", "d", "e"), "q2": ranked("e", "d"), "q3": ()})
    plan = Plan("tiny", 3, ["nDCG@10", "RR@10", "R@depth"], CostProtocol(0, 0))
    asked = {"name": "tiny", "precision": {"name": "fp32"}, "depth": 3}
    return trial.run(plan, data, first, NoReranker(), asked, {"command": ["python -m evalkit"], "commit": None})


@pytest.fixture(scope="module")
def alone() -> Trial:
    return make_alone()


AFTER = ("before", "after", "delta", "+ none", "worth it", "win/tie/loss", "reranked list", "interval", "p Holm",
         "How sure", "Quality by depth")  # fmt: skip


def test_the_report_of_a_first_stage_alone_does_not_mention_a_reranked_list(alone: Any) -> None:
    report = markdown.trial(finished(alone))
    assert report.startswith("# tiny: the first stage by itself\n\n**No reranker: nDCG@10 0.3333 by fixed.**")
    assert "| measure | fixed | ceiling |" in report
    assert "| RR@10 | 0.3333 | 0.3333 |" in report  # e, of grade 2, is first for q2; nothing for the others
    assert "Unjudged passages in the top 10: 60.0%." in report  # c, d and e of q1, of five in all
    assert "- 60% of the top 10 of the first stage are unjudged" in report
    outcome = report.partition("## What was done")[0]
    for words in AFTER:
        assert words not in outcome, words


def test_the_terminal_of_a_first_stage_alone_does_not_mention_a_reranked_list(
    alone: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    show(finished(alone))
    shown = capsys.readouterr().out
    assert "three: 3 queries, 6 passages, depth 3" in shown
    assert "No reranker: nDCG@10" in shown
    for words in AFTER:
        assert words not in shown, words


def test_the_latex_table_of_a_first_stage_alone_does_not_mention_a_reranked_list(alone: Any) -> None:
    table = tex.trial(finished(alone))
    for words in (*AFTER, "rerank", "difference", "dagger"):
        assert words not in table, words


def test_in_a_sweep_a_first_stage_alone_has_no_difference_from_itself(alone: Any, done: Any) -> None:
    first, second = tables.sweep_rows([finished(alone), finished(done)])
    assert (first["system"], first["RR@10"], second["RR@10"]) == ("fixed", "0.3333", "0.5000 (+0.0000)")


def with_max_length(result: Result, length: int) -> Result:
    reranker: Any = {**result.effective.reranker, "max_length": length}
    return dataclasses.replace(result, effective=dataclasses.replace(result.effective, reranker=reranker))


def test_a_sweep_over_a_setting_labels_each_row_with_its_value(done: Any, tmp_path: Path) -> None:
    both = [with_max_length(finished(done), length) for length in (128, 256)]
    names = [f"fixed + oracle at fp32, max_length {length}" for length in (128, 256)]
    assert [row["system"] for row in tables.sweep_rows(both)] == names
    results.write_sweep(both, tmp_path)
    assert (tmp_path / "max_length.png").exists()
    assert all(f"- {name}: " in (tmp_path / "report.md").read_text("utf-8").replace("\\", "") for name in names)


def test_a_measure_that_no_query_changes_in_is_not_corrected_for(done: Any) -> None:
    """All 8 queries gain 0.5 in one measure: p is 2 / 2^8, and recall, which nothing changed, adds nothing."""
    before = {f"q{n}": 0.25 for n in range(8)}
    values = {"first_stage": {"nDCG@10": before, "R@3": before},
              "reranked": {"nDCG@10": dict.fromkeys(before, 0.75), "R@3": before}}  # fmt: skip
    lists = {side: Effectiveness(of) for side, of in values.items()}
    lifted = dataclasses.replace(done, effectiveness={**done.effectiveness, **lists})
    tests = effectiveness(lifted).tests
    assert (tests["nDCG@10"].holm_p, tests["nDCG@10"].bh_p) == (2 / 2**8, 2 / 2**8)
    assert (tests["R@3"].holm_p, tests["R@3"].bh_p) == (1.0, 1.0)


def test_the_message_counts_the_pictures_that_were_drawn(
    done: Any, alone: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("reranked", "alone"):
        (tmp_path / name).mkdir()
    results.write_trial(done, tmp_path / "reranked")
    drawn = len(list((tmp_path / "reranked").glob("*.png")))
    assert f"drawing: {drawn} pictures in" in capsys.readouterr().err
    results.write_trial(alone, tmp_path / "alone")
    assert not list((tmp_path / "alone").glob("*.png"))
    assert "drawing" not in capsys.readouterr().err


def test_each_picture_follows_the_table_of_what_it_shows(done: Any) -> None:
    names = ("before_after", "changes", "depths", "scores", "reliability", "latency", "latency_grid", "load", "more")
    report = markdown.trial(finished(done), [f"{name}.png" for name in names])
    heading, under = "", {}
    for line in report.splitlines():
        if line.startswith("#"):
            heading = line
        elif line.startswith("!"):
            under[line] = heading
    assert under == {
        "![Quality before and after reranking](before_after.png)": "## Effectiveness",
        "![Change of nDCG@10, query by query](changes.png)": "## Effectiveness",
        "![Logits by grade](scores.png)": "## What the scores mean here",
        "![Relevant share by the sigmoid of the logit](reliability.png)": "## What the scores mean here",
        "![Latency of single queries, ms](latency.png)": "### Latency of a query",
        # This trial has one depth and no grid, so that there are no tables of theirs.
        "![nDCG@10 by the number of candidates reranked](depths.png)": "### Measured on",
        "![Latency by passages and by length, ms](latency_grid.png)": "### Measured on",
        "![Latency under load, ms](load.png)": "### Measured on",
        "![more](more.png)": "### Measured on",
    }


def test_a_group_of_all_queries_is_a_sentence_and_a_small_one_is_marked(done: Any) -> None:
    result = finished(done)
    row = ClassRow("all|of them", 3, before=0.5, after=0.75, delta=0.25, ci95=(0.1, 0.4))
    many = dataclasses.replace(row, label="many", queries=10)
    analysis = dataclasses.replace(result.analysis, breakdown={"query_length": [row], "question_word": [row, many]})
    report = markdown.trial(dataclasses.replace(result, analysis=analysis))
    assert "All queries are of one group by query length: all\\|of them." in report
    assert "| all\\|of them | 3 (few) | 0.5000 | 0.7500 | +0.2500 \u00b1 0.1500 |" in report
    assert "| many | 10 | 0.5000 |" in report
    assert "## nDCG@10 by query length" not in report


def test_the_report_states_how_many_differences_are_flipped_in_every_way(done: Any) -> None:
    assert "(all flips up to 13 differences other than 0)" in markdown.trial(finished(done))
    for count, exact in ((13, True), (14, False)):
        before = {f"q{n}": 0.0 for n in range(count)}
        p = significance.randomization_p(before, dict.fromkeys(before, 0.5))
        assert (p == 2 / 2**count) is exact


def test_the_report_names_the_system_in_its_head(done: Any) -> None:
    head = markdown.trial(finished(done)).partition("## ")[0]
    assert (
        "First stage: fixed; maximum length: 64 tokens a pair; precision: fp32; device: a processor; depth: 3" in head
    )


def cells(line: str) -> int:
    """How many cells a Markdown reader sees: a pipe behind a backslash is no border."""
    return line.replace("\\|", "").count("|") - 1


def test_no_name_breaks_a_table_or_starts_markup() -> None:
    nasty = make_trial(NASTY, NASTY, NASTY, NASTY, device_name=NASTY)
    report = markdown.trial(finished(nasty), "before_after.png")
    # Code spans show all as it is; everywhere else markup must not start.
    prose = "\n".join(line for line in report.splitlines() if not line.startswith("Command: `"))
    assert "<script" not in prose
    assert "&lt;script>" in prose
    for block in report.split("\n\n"):
        table = [line for line in block.splitlines() if line.startswith("|")]
        assert len({cells(line) for line in table}) <= 1, block


def test_no_name_breaks_the_report_of_a_sweep() -> None:
    nasty = finished(make_trial(NASTY, NASTY, NASTY, NASTY))
    broken = failed(
        NASTY, {"precision": {"name": NASTY}, "depth": 3}, {}, EvalkitError(f"it broke: {NASTY}\nsecond line")
    )
    report = markdown.sweep([nasty, broken])
    assert "<script" not in report
    table = [line for line in report.splitlines() if line.startswith("|")]
    assert len(table) == 4
    assert len({cells(line) for line in table}) == 1


def test_a_command_can_be_copied_into_a_shell_and_stays_one_code_span(done: Any) -> None:
    tick = dataclasses.replace(done, provenance={"command": ["evalkit", "name=`x`", "out_dir=/a b", "depth=5"]})
    report = markdown.trial(finished(tick))
    assert report.endswith("\n\nCommand: ``evalkit 'name=`x`' 'out_dir=/a b' depth=5``\n")


def test_a_sweep_puts_finished_and_failed_trials_side_by_side(done: Any, tmp_path: Path) -> None:
    other = failed(
        "tiny", {"precision": {"name": "tf32"}, "depth": 3}, {}, EvalkitError("precision=tf32 is not for a CPU")
    )
    rows = tables.sweep_rows([finished(done), other])
    assert [row["system"] for row in rows] == ["fixed + oracle at fp32", "tiny at tf32"]
    assert rows[0]["RR@10"] == "0.5000 (+0.0000)"
    assert [rows[1][name] for name in NAMES] == ["failed"] * 3
    assert (rows[1]["pairs/s"], rows[1]["peak MiB"]) == ("", "")
    results.write_sweep([finished(done), other], tmp_path)
    assert json.loads((tmp_path / "sweep.json").read_text("utf-8"))[1]["error"] == "precision=tf32 is not for a CPU"
    report = (tmp_path / "report.md").read_text("utf-8")
    assert "- fixed + oracle at fp32: Reranking made no clear difference" in report
    assert "- tiny at tf32: failed. precision=tf32 is not for a CPU" in report


def test_a_sweep_in_which_every_trial_failed_is_still_reported(tmp_path: Path) -> None:
    results.write_sweep([failed("x", {"precision": {"name": "fp16"}, "depth": 3}, {}, EvalkitError("no"))], tmp_path)
    assert "- x at fp16: failed. no" in (tmp_path / "report.md").read_text("utf-8")


def test_the_terminal_shows_table_verdict_cost_and_notes(done: Any, capsys: pytest.CaptureFixture[str]) -> None:
    show(finished(done))
    terminal.show_folder("/some/folder")
    shown = capsys.readouterr().out
    for text in (
        "three: 3 queries",
        "nDCG@10",
        "Reranking made no clear difference",
        "Cost at fp32",
        "note: 3 queries",
    ):
        assert text in shown
    assert shown.rstrip().endswith("results in /some/folder")


def test_square_brackets_in_names_are_text_to_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    show(finished(make_trial("[red]x[/red]", "[bold]first", "[/] second", "[link=http://x]slice")))
    terminal.show_folder("[dim]here")
    shown = capsys.readouterr().out
    for text in ("[bold]first", "[/] second", "[link=http://x]slice", "[dim]here"):
        assert text in shown


def test_a_folder_that_cannot_be_written_is_an_error_with_advice(done: Any, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way", "utf-8")
    with pytest.raises(EvalkitError, match=r"cannot write the results to .*file: Not a directory; .*out_dir=DIR"):
        results.write_trial(done, tmp_path / "file")
    with pytest.raises(EvalkitError, match=r"cannot write the results to .*gone: No such file or directory"):
        results.write_sweep(
            [failed("x", {"precision": {"name": "fp16"}, "depth": 3}, {}, EvalkitError("no"))], tmp_path / "gone"
        )


@pytest.mark.parametrize("room", [100, 3000, 30_000])
def test_where_there_is_no_room_nothing_is_left_that_looks_finished(done: Any, tmp_path: Path, room: Any) -> None:
    """No file may grow beyond `room` bytes here: the run files, a report or a picture meets that."""
    resource = pytest.importorskip("resource")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (room, before[1]))
    try:
        with pytest.raises(EvalkitError, match="File too large; free some space, or name another folder"):
            results.write_trial(done, tmp_path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert list(tmp_path.iterdir()) == []


def test_a_value_that_json_has_no_word_for_is_never_written(done: Any, tmp_path: Path) -> None:
    result = finished(dataclasses.replace(done, cost=dataclasses.replace(done.cost, pairs_per_s=math.inf)))
    with pytest.raises(ValueError, match="Out of range float"):
        write_result(result, tmp_path)
    assert list(tmp_path.iterdir()) == []
