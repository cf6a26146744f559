"""report.html: a page that is whole, loads nothing, runs nothing of what it shows, and leaves out what it lacks."""

import base64
import hashlib
import re
from dataclasses import replace
from functools import cache
from html.parser import HTMLParser
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evalkit.evaluation.parity import PerQuery
from evalkit.report.content import numbers, recorded
from evalkit.report.html import pages
from evalkit.report.html.markup import Markup, tag
from evalkit.results.comparison_schema import ComparedSlice, Comparison, Matrix
from tests.helpers.comparisons import agreement, comparison, cost, paired, system
from tests.helpers.results import complete

NAMES = ("nDCG@10", "RR@10")
VOID = {"meta", "link", "br", "img", "input"}
HOSTILE = (
    "<script>alert(1)</script>",
    '"><img src=x onerror="alert(1)">',
    "' onmouseover='alert(1)",
    "</style></script><svg onload=alert(1)>",
    "<!-- --> &lt; ]]> \x00 \ud800 \u2028",
    "javascript:alert(1)",
)
SVG = '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 4 4"><script>alert(1)</script></svg>'


class Page(HTMLParser):
    """The elements of a page as they open, with its visible text; unbalanced tags fail."""

    def __init__(self, page: Any) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[Any] = []
        self.elements: list[Any] = []
        self.words: list[str] = []
        self.raw: dict[str, str] = {}
        self.feed(page)
        self.close()
        assert not self.open

    def handle_starttag(self, name: Any, attributes: Any) -> None:
        self.elements.append((name, dict(attributes)))
        if name not in VOID:
            self.open.append(name)

    def handle_endtag(self, name: Any) -> None:
        assert self.open.pop() == name

    def handle_data(self, data: Any) -> None:
        if self.open and self.open[-1] in ("style", "script"):
            self.raw[self.open[-1]] = self.raw.get(self.open[-1], "") + data
        else:
            self.words.append(data)

    @property
    def text(self) -> Any:
        return " ".join("\n".join(self.words).split())

    @property
    def shape(self) -> Any:
        return [name for name, _ in self.elements]

    def all(self, name: Any, /, **attributes: Any) -> Any:
        return [found for n, found in self.elements if n == name and attributes.items() <= found.items()]


def trial_of(found: Any, lines: Any, svgs: Any) -> Any:
    return pages.trial(complete(found), lines, svgs)


def per_query(low: Any, queries: Any = ("q1", "q2")) -> Any:
    return {name: dict.fromkeys(queries, low) for name in NAMES}


def result(text: Any = "plain") -> Any:
    """A finished result as older versions wrote it: no tests, no analysis, no references, no cost."""
    mean = {"mean": dict.fromkeys(NAMES, 0.5)}
    return {
        "schema_version": 1,
        "status": "finished",
        "name": text,
        "asked": {
            "slice": {"lang": None, "name": text},
            "depth": 10,
            "reranker": {"device": "auto", "precision": None},
        },
        "effective": {
            "slice": {"name": text, "lang": "en", "docs": 1234, "seed": None},
            "first_stage": {"name": text},
            "reranker": {"name": text, "device": "cpu", "device_name": text, "precision": "fp32"},
            "depth": 10,
        },
        "provenance": {"command": ["evalkit", f"slice.name={text}"], "evalkit": {"version": "1", "commit": None}},
        "effectiveness": {
            "queries": 2,
            "relevance_level": 2,
            "first_stage": mean,
            "reranked": {"mean": dict.fromkeys(NAMES, 0.75)},
            "ceiling": {"mean": dict.fromkeys(NAMES, 1.0)},
            "delta": {"nDCG@10": 0.25, "RR@10": -0.00001},
            "delta_ci95": {"nDCG@10": [0.125, 0.375], "RR@10": [None, None]},
            "verdict": {"nDCG@10": "helped", "RR@10": "made no clear difference"},
            "wins": dict.fromkeys(NAMES, 2),
            "ties": dict.fromkeys(NAMES, 0),
            "losses": dict.fromkeys(NAMES, 0),
            "unjudged_at_10": {"first_stage": 0.0, "reranked": 0.125},
            "per_query": {"first_stage": per_query(0.5), "reranked": per_query(0.75)},
        },
        "cost": None,
        "warnings": [text],
    }


def full(text: Any = "plain") -> Any:
    """A result with every part, and nulls where the schema allows them."""
    whole = result(text)
    test = {"bca95": [0.1, 0.4], "t_p": 0.04, "wilcoxon_p": None, "randomization_p": 0.0004, "holm_p": 0.0123,
            "bh_p": None, "effect_size": 0.5, "detectable": None}  # fmt: skip
    nothing = {key: [None, None] if key == "bca95" else None for key in test}
    whole["effectiveness"]["tests"] = {"nDCG@10": test, "RR@10": nothing}
    cut = {"logit": 1.5, "sigmoid": 0.8176, "precision": 0.9, "recall": 0.625, "f1": 0.7377}
    quantiles = dict.fromkeys(("p5", "p25", "p50", "p75", "p95"), 1.25)
    move = {"query_id": "q1", "query": text, "before": 0.5, "after": 0.75}
    bins = [{"low": 0.9, "high": 1.0, "pairs": 3, "mean_sigmoid": 0.95, "relevant_share": 0.5}]
    whole["analysis"] = {
        "depths": [{"depth": d, "pairs": 2 * d, "mean": dict.fromkeys(NAMES, d / 20)} for d in (5, 10)],
        "breakdown": {
            "question_word": [
                {"label": text, "queries": 1, "before": 0.5, "after": 0.75, "delta": 0.25, "ci95": [None, None]}
            ],
            "query_length": [],
        },
        "scores": {
            "grades": [quantiles | {"grade": 0, "pairs": 4}, quantiles | {"grade": None, "pairs": 4}],
            "histogram": {"edges": [0, 1], "counts": {"0": [1]}},
            "thresholds": [cut],
            "best_f1": cut,
            "rules": [{"rule": "sigmoid >= 0.8", "pairs": 4, "relevant_share": 0.25},
                      {"rule": "sigmoid < 0.4", "pairs": 0, "relevant_share": None}],
            "calibration": bins,
            "expected_calibration_error": 0.0625,
        },
        "tied": {"nDCG@10": {"expected": 0.74, "low": 0.73, "high": 0.76}},
        "gains": [move],
        "losses": [move | {"query_id": "q2", "after": 0.25}],
    }  # fmt: skip
    whole["references"] = [
        {"of": text, "measure": "nDCG@10", "value": 0.5, "ours": 0.5125, "difference": 0.0125,
         "source": "https://example.org/a?b=1&c=2"},
        {"of": text, "measure": text, "value": 0.5, "ours": 0.5, "difference": 0.0, "source": text, "note": text},
    ]  # fmt: skip
    latency = {"samples_ms": [1.0, 2.0], "p50_ms": 123.0, "p90_ms": 150.0, "p95_ms": 155.0, "p99_ms": 160.0,
               "p50_ci95_ms": [1.0, 2.0], "p90_ci95_ms": [1.0, None], "p95_ci95_ms": [None, 2.0],
               "p99_ci95_ms": [None, None], "pairs_per_query": 10.0, "queries": 2, "repetitions": 2,
               "duration_s": 0.003}  # fmt: skip
    grid = [{"depth": 10, "length": length, "tokens_per_pair": 64.0, "latency": latency} for length in (64, 128)]
    nothing_measured = dict.fromkeys(("rss_before_mb", "rss_after_mb", "rss_peak_mb", "cuda_allocated_peak_mb"))
    whole["cost"] = {
        "first_stage_s": 0.5, "load_s": 1.5, "first_forward_ms": None, "warmup_s": 0.1, "pairs": 20,
        "computed_pairs": 15, "scoring_s": 2.0, "pairs_per_s": 10.0, "tokenize_s": 0.1, "forward_s": 1.9,
        "throughput": {"source": "sample", "pairs": 15, "tokens": 200, "padding_share": 0.0, "wall_s": 1.5,
                       "end_to_end_pairs_per_s": 10.0, "tokens_per_s": 133.3, "model_mfu": None},
        "latency": latency,
        "latency_grid": {"cells": grid, "notes": [text]},
        "load": {"at_once": True, "queries": 4, "pairs_per_query": 10.0, "saturates_at_clients": 1, "notes": [text],
                 "levels": [{"kind": "closed", "clients": clients, "answered": 9, "seconds": 1.0, "queries_per_s": 9.0,
                             "p50_ms": 111.0, "p90_ms": 222.0, "p99_ms": None} for clients in (1, 4)]},
        "memory": {"rss_before_load_mb": None, "rss_after_load_mb": None, "rss_peak_mb": 789.0,
                   "cuda_allocated_peak_mb": None, "cuda_reserved_peak_mb": None, "weights_mb": 87.0,
                   "own_pass": {"pairs": 5, "tokens": 99, "predicted_peak_mb": 117.0, **nothing_measured}},
        "energy": {"joules": None, "why": text},
        "estimate": {"price_per_gpu_hour": 2.0, "currency": text, "depth": 10, "why": None, "per_1000_queries": 0.1,
                     "per_1000_queries_one_by_one": None, "per_million_pairs": 10.0},
        "calibration": None,
    }  # fmt: skip
    whole["effective"] |= {
        "scoring": {"pairs_from_store": 5, "budget_halvings": [text]},
        "environment": {"device": text, "driver": text, "clocks_held_back_by": [text, text], "nvml": f"no {text}"},
    }
    return whole


def passages(text: Any = "plain") -> Any:
    entry = {"doc_id": text, "grade": 3, "first_stage_rank": 4, "reranked_rank": 1, "text": text}
    others = [entry | {"doc_id": "d2", "grade": None, "first_stage_rank": 1, "reranked_rank": 2},
              entry | {"doc_id": "d3", "grade": 2, "first_stage_rank": 30, "reranked_rank": None}]  # fmt: skip
    return [{"query_id": q, "query": text, "passages": [entry, *others]} for q in ("q1", "q2")]


def compared(text: Any = "plain") -> Comparison:
    labels = ["base", f"other {text}", "a run"]
    sure = paired(0.25, low=0.125, high=0.375, t_p=0.01, randomization_p=0.0002, holm_p=0.0008, bh_p=0.0004)
    unsure = replace(sure, holm_p=0.2, mean=-0.01, low=-0.2, high=0.1)
    ps = [[None, 0.0008, 0.2], [0.0008, None, 0.03], [0.2, 0.03, None]]
    figures = cost(pairs_per_s=12.5, p50_ms=None, p99_ms=None, peak_mb=789.0, device=text)
    return comparison(
        [
            system(label, where=text, depth=10, first_stage=text, reranker=text, precision=None,
                   mean=dict.fromkeys(NAMES, value), cost=figures if label == "base" else None)
            for label, value in zip(labels, (0.5, 0.75, 0.49))
        ],
        {labels[1]: dict.fromkeys(NAMES, sure), labels[2]: dict.fromkeys(NAMES, unsure)},
        slice=ComparedSlice(text, 2, 1234, "ar", 1, "f"),
        matrix={"nDCG@10": Matrix(labels, ps)},
        parity={labels[1]: agreement(per_query={"q1": PerQuery(0.9999, 1.0, None, 1.0)}), labels[2]: None},
        queries={"q1": text, "q2": text},
        per_query={name: {label: {"q1": 0.5, "q2": 0.25 * n} for n, label in enumerate(labels)} for name in NAMES},
        warnings=[text],
    )  # fmt: skip


def trial_page(text: Any = "plain") -> Any:
    return trial_of(full(text), passages(text), {text: SVG})


def comparison_page(text: Any = "plain") -> Any:
    return pages.comparison(compared(text), {text: SVG})


def alone(text: Any = "plain") -> Any:
    """A full result of a first stage that nothing reranked: what its lists have in common is equal."""
    found = full(text)
    found["effective"]["reranker"] = {"name": "none", "reranks": False}
    effect, analysis = found["effectiveness"], found["analysis"]
    effect["reranked"], effect["delta"] = effect["first_stage"], dict.fromkeys(NAMES, 0.0)
    effect["delta_ci95"] = {name: [0.0, 0.0] for name in NAMES}
    effect["verdict"] = dict.fromkeys(NAMES, "made no clear difference")
    effect["unjudged_at_10"] = dict.fromkeys(("first_stage", "reranked"), 0.125)
    effect["per_query"]["reranked"] = effect["per_query"]["first_stage"]
    analysis |= {"scores": None, "tied": None, "gains": [], "losses": []}
    return found | {"cost": None, "references": []}


def alone_page(text: Any = "plain") -> Any:
    lines = passages(text)
    for line in lines:
        for passage in line["passages"]:
            passage["reranked_rank"] = passage["first_stage_rank"]
    return trial_of(alone(text), lines, {})


PAGES = {
    "trial": trial_page,
    "first stage alone": alone_page,
    "older trial": lambda text="plain": trial_of(result(text), [], {}),
    "comparison": comparison_page,
}
each_page = pytest.mark.parametrize("make", PAGES.values(), ids=PAGES.keys())


@each_page
def test_a_page_is_well_formed_and_declares_its_language_and_width(make: Any) -> None:
    page = make()
    parsed = Page(page)
    assert page.startswith("<!DOCTYPE html>")
    assert parsed.all("html", lang="en")
    assert parsed.all("meta", charset="utf-8")
    assert parsed.all("meta", name="viewport")
    assert parsed.shape.count("h1") == 1
    ids = [found["id"] for _, found in parsed.elements if "id" in found]
    assert len(ids) == len(set(ids))
    assert {found["href"][1:] for found in parsed.all("a") if found["href"].startswith("#")} <= set(ids)


@each_page
def test_the_policy_allows_the_inlined_parts_and_nothing_else(make: Any) -> None:
    parsed = Page(make())
    (policy,) = (found["content"] for found in parsed.all("meta") if "http-equiv" in found)
    rules = dict(rule.strip().split(" ", 1) for rule in policy.split(";"))
    for part in ("style", "script"):
        digest = base64.b64encode(hashlib.sha256(parsed.raw[part].encode()).digest()).decode()
        assert rules.pop(f"{part}-src") == f"'sha256-{digest}'"
        assert parsed.shape.count(part) == 1
    assert rules == {"default-src": "'none'", "img-src": "data:", "base-uri": "'none'", "form-action": "'none'"}


@each_page
@pytest.mark.parametrize("text", HOSTILE)
def test_a_page_loads_nothing_and_has_no_inline_style_or_handler(make: Any, text: Any) -> None:
    for name, attributes in Page(make(text)).elements:
        assert not [key for key in attributes if key == "style" or key.startswith("on")]
        if "src" in attributes:
            assert attributes["src"].startswith("data:image/svg+xml;base64,")
        target = attributes.get("href", "#")
        assert (
            target.startswith("#")
            or (name, target[:5]) == ("link", "data:")
            or (name == "a" and target == "https://example.org/a?b=1&c=2")
        )


@cache
def harmless_shape(make: Any, text: str) -> Any:
    return Page(make(text)).shape


@each_page
@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_text_is_shown_as_it_is_and_adds_no_element(make: Any, text: Any) -> None:
    parsed = Page(make(text))
    assert parsed.shape == harmless_shape(make, "harmless words")
    if text.isprintable():
        assert text in parsed.text
    make(text).encode("utf-8")  # half a character would not


@settings(max_examples=40, deadline=None)
@given(st.text(min_size=1))
def test_no_text_at_all_adds_an_element(text: Any) -> None:
    long = len(text) > 22
    for make in PAGES.values():
        assert Page(make(text)).shape == harmless_shape(make, "x" * 30 if long else "x")


@settings(deadline=None)
@given(st.text(), st.text())
def test_a_tag_gives_back_its_text_and_its_attribute(text: Any, attribute: Any) -> None:
    made = tag("p", text, title=attribute)
    parsed = Page(made)
    original = [
        re.sub("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff]", "\ufffd", t) for t in (text, attribute)
    ]
    assert parsed.elements == [("p", {"title": original[1]})]
    assert "".join(parsed.words) == original[0]


def test_markup_is_not_escaped_twice() -> None:
    assert tag("b", tag("i", "<")) == "<b><i>&lt;</i></b>"
    assert tag("b", Markup("<hr>"), None) == "<b><hr></b>"


@each_page
def test_what_is_null_is_left_out(make: Any) -> None:
    assert not re.search(r"\b(None|null|nan)\b", Page(make()).text)


def test_an_older_result_has_no_sections_for_what_it_lacks() -> None:
    parsed = Page(PAGES["older trial"]())
    there = [found["id"] for found in parsed.all("section")]
    assert there == ["quality", "warnings", "queries", "settings", "origin"]
    assert "BCa" not in [word.strip() for word in parsed.words if "interval (" in word]
    assert "95 % interval (BCa)" not in parsed.text


def test_a_full_result_has_all_sections_in_the_order_of_a_decision() -> None:
    assert [found["id"] for found in Page(trial_page()).all("section")] == [
        "quality", "warnings", "pictures", "depth", "breakdown", "scores", "moves", "queries", "cost", "references",
        "settings", "origin",
    ]  # fmt: skip


def test_the_verdict_comes_first_in_the_words_of_every_report() -> None:
    text = Page(trial_page()).text
    verdict = "Reranking helped nDCG@10 0.5000 -> 0.7500 (+0.2500, 95 % interval +0.1250 to +0.3750; 2 queries better"
    assert verdict in text
    assert text.index(verdict) < text.index("Cost at fp32 on plain") < text.index("What reranking changed")


def test_measures_are_shown_with_both_intervals_and_corrected_p() -> None:
    text = Page(trial_page()).text
    assert "nDCG@10 0.5000 0.7500 +0.2500 +0.1250 to +0.3750 +0.1000 to +0.4000 < 0.001 0.012 2/0/0 1.0000" in text
    assert "RR@10 0.5000 0.7500 +0.0000 2/0/0 1.0000" in text  # -0.00001 is no minus


def test_every_query_is_in_the_table_with_its_passages_and_ranks() -> None:
    whole = full()
    queries = [f"q{n}" for n in range(200)]
    whole["effectiveness"]["per_query"] = {"first_stage": per_query(0.5, queries), "reranked": per_query(0.75, queries)}
    lines = [line | {"query_id": q, "query": f"what is {q}?"} for q in queries for line in passages()[:1]]
    parsed = Page(trial_of(whole, lines, {}))
    for query_id in queries:
        assert f"what is {query_id}? 0.5000 0.7500 +0.2500" in parsed.text
        assert (
            f"{query_id} \u00b7 2 relevant, the best at rank 4 \u2192 1 rank 4 \u2192 1 \u00b7 grade 3, relevant"
            in parsed.text
        )
    assert "rank 1 \u2192 2 \u00b7 unjudged" in parsed.text
    assert "rank 30 \u2192 not found \u00b7 grade 2, relevant" in parsed.text
    assert [found["data-column"] for found in parsed.all("th") if "data-column" in found] == [str(n) for n in range(7)]


def test_a_query_without_passages_is_in_the_table_under_its_id() -> None:
    assert "q1 0.5000 0.7500 +0.2500" in Page(PAGES["older trial"]()).text


def test_a_query_whose_relevant_passages_were_not_found_is_marked() -> None:
    lines = passages()
    for passage in lines[0]["passages"]:
        passage |= {"first_stage_rank": None, "reranked_rank": None}
    assert "q1 \u00b7 2 relevant, none of them found" in Page(trial_of(result(), lines, {})).text


def test_many_passages_are_cut_with_a_note_on_the_page(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("evalkit.report.html.passages.MOST_PASSAGES", 6)
    lines = passages()
    lines[0]["passages"] *= 4
    text = Page(trial_of(result(), lines, {})).text
    assert "Up to 3 passages a query; passages.jsonl" in text
    assert "passages.jsonl" not in Page(trial_of(result(), passages(), {})).text


def test_texts_carry_their_language_and_find_their_own_direction() -> None:
    parsed = Page(trial_page())
    assert len(parsed.all("p", dir="auto", lang="en")) == len([p for line in passages() for p in line["passages"]]) + 4
    assert all(found.get("lang") in (None, "ar") for found in Page(comparison_page()).all("bdi"))
    whole = result()
    whole["effective"]["slice"]["lang"] = 'en" onclick="x'
    assert not [found for found in Page(trial_of(whole, passages(), {})).all("bdi") if "lang" in found]


def test_cost_is_shown_with_what_was_not_measured() -> None:
    text = Page(trial_page()).text
    assert "pairs/s, the model alone not measured" in text
    assert "p99 160 not determinable from 2 samples" in text
    assert "5 of 20 scores came from a store" in text
    assert "117 MiB by arithmetic" in text
    assert "Energy was not measured: plain." in text


def test_settings_are_shown_side_by_side_where_they_differ() -> None:
    text = Page(trial_page()).text
    assert "setting asked done slice.lang not set en reranker.device auto cpu reranker.precision not set fp32" in text


def test_the_command_is_quoted_for_a_shell() -> None:
    assert "evalkit 'slice.name=a b'" in Page(trial_page("a b")).text


def test_pictures_are_data_with_their_title_as_text() -> None:
    (image,) = Page(trial_page("Before and after")).all("img")
    kind, data = image["src"].split(",")
    assert (kind, image["alt"]) == ("data:image/svg+xml;base64", "Before and after")
    assert base64.b64decode(data).decode() == SVG


def test_published_figures_link_to_web_addresses_only() -> None:
    links = [found["href"] for found in Page(trial_page("javascript:alert(1)")).all("a") if found["href"][0] != "#"]
    assert links == ["https://example.org/a?b=1&c=2"]


def test_a_comparison_says_who_is_better_after_correction() -> None:
    text = Page(comparison_page()).text
    assert (
        "1 of 2 is better than base in nDCG@10. Better: other plain (+0.2500). No clear difference: a run (-0.0100)."
        in text
    )
    unsure = compared().against_baseline["a run"]
    alone = replace(compared(), against_baseline={"a run": unsure})
    assert "No clear difference from base in nDCG@10" in Page(pages.comparison(alone, {})).text


def test_a_matrix_has_an_arrow_class_and_a_number_where_p_is_small() -> None:
    parsed = Page(comparison_page())
    cells = [found["class"] for found in parsed.all("td") if "sure" in (found.get("class") or "")]
    assert cells == ["down sure-3", "up sure-3", "up sure-1", "down sure-1"]
    assert "other plain < 0.001 0.030" in parsed.text


def test_a_comparison_has_every_query_with_a_column_a_system() -> None:
    text = Page(comparison_page()).text
    assert text.count("plain q1 0.5000 0.5000 0.5000 0.0000") == len(NAMES)
    assert text.count("plain q2 0.0000 0.2500 0.5000 0.5000") == len(NAMES)


def test_parity_shows_what_is_equivalent_and_what_cannot_be_compared() -> None:
    text = Page(comparison_page()).text
    assert "other plain is not shown to be equivalent to base in nDCG@10 within \u00b10.01: difference +0.2500" in text
    assert "no scores to compare: a run." in text
    assert "0.9999" not in text  # query by query is for the JSON


def test_parts_of_a_comparison_without_content_are_left_out() -> None:
    bare = replace(compared(), parity=dict.fromkeys(compared().parity), warnings=[])
    sections = [found["id"] for found in Page(pages.comparison(bare, {})).all("section")]
    assert sections == ["systems", "cost", "baseline", "matrix", "queries", "origin"]


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        (numbers.signed(-0.00004), "+0.0000"),
        (numbers.p_value(0.00099), "< 0.001"),
        (numbers.p_value(1.0), "1.000"),
        (numbers.interval(None, 0.1), ""),
        (recorded.readable({"a": {"b": 1.5}, "c": None, "d": True}), "a.b 1.5, d yes"),
        (recorded.readable([1, None, 2.0]), "1, 2"),
    ],
)
def test_values_are_written_for_a_reader(written: Any, expected: Any) -> None:
    assert written == expected


def sections(page: Any) -> Any:
    """Anchor -> what is within: headings, images and words, in order."""

    class Sections(HTMLParser):
        def __init__(self) -> None:
            super().__init__(convert_charrefs=True)
            self.found: dict[Any, list[Any]] = {}
            self.inside: list[Any] = []
            self.heading: list[Any] | None = None

        def handle_starttag(self, name: Any, attributes: Any) -> None:
            if name == "section":
                self.inside = self.found.setdefault(dict(attributes)["id"], [])
            elif name in ("h2", "h3"):
                self.heading = [name, ""]
                self.inside.append(self.heading)
            elif name == "img":
                self.inside.append(["img", dict(attributes)["alt"]])

        def handle_endtag(self, name: Any) -> None:
            if name in ("h2", "h3"):
                self.heading = None

        def handle_data(self, data: Any) -> None:
            if self.heading:
                self.heading[1] += data
            elif data.strip():
                self.inside.append(["words", data])

    reader = Sections()
    reader.feed(page)
    return reader.found


DRAWN = ("before_after", "changes", "depths", "scores", "reliability", "latency", "latency_grid", "load")


def test_each_picture_is_shown_once_next_to_its_table_and_there_is_no_section_of_pictures() -> None:
    found = sections(trial_of(full(), passages(), dict.fromkeys(DRAWN, SVG)))
    images = {anchor: [words for kind, words in parts if kind == "img"] for anchor, parts in found.items()}
    assert {anchor: titles for anchor, titles in images.items() if titles} == {
        "quality": ["Quality before and after reranking", "Change of nDCG@10, query by query"],
        "depth": ["nDCG@10 by the number of candidates reranked"],
        "scores": ["Logits by grade", "Relevant share by the sigmoid of the logit"],
        "cost": ["Latency of single queries, ms", "Latency by passages and by length, ms", "Latency under load, ms"],
    }
    order = [words for kind, words in found["cost"] if kind in ("h3", "img")]
    assert order[1:7] == ["Latency of a query", "Latency of single queries, ms", "Latency by depth and length",
                          "Latency by passages and by length, ms", "Under load", "Latency under load, ms"]  # fmt: skip


@pytest.mark.parametrize("missing", DRAWN)
def test_a_picture_that_could_not_be_drawn_leaves_the_others_in_their_places(missing: Any) -> None:
    svgs = {name: SVG for name in DRAWN if name != missing}
    parsed = Page(trial_of(full(), passages(), svgs))
    assert len(parsed.all("img")) == len(parsed.all("figure")) == len(DRAWN) - 1


def one_query() -> Any:
    found = full()
    effect = found["effectiveness"]
    effect["queries"], effect["delta_ci95"] = 1, {name: [None, None] for name in NAMES}
    effect["per_query"] = {"first_stage": per_query(0.5, ["q1"]), "reranked": per_query(0.75, ["q1"])}
    effect["tests"] = {name: dict.fromkeys(test) | {"bca95": [None, None]} for name, test in effect["tests"].items()}
    return found


def without_energy() -> Any:
    found = full()
    found["cost"] |= {"estimate": None}
    return found


def nothing_found() -> Any:
    """No scores to cut, no group, no gain: as where the first stage found no relevant passage."""
    found = full()
    found["analysis"]["scores"] |= {"grades": [], "thresholds": [], "best_f1": None, "rules": [], "calibration": [],
                                    "expected_calibration_error": None}  # fmt: skip
    found["analysis"] |= {"breakdown": {"question_word": []}, "tied": {}, "gains": [], "losses": [], "depths": []}
    found["effectiveness"]["tests"] = {}
    return found


@pytest.mark.parametrize(
    "found", [result(), full(), alone(), one_query(), without_energy(), nothing_found()],
    ids=["older", "full", "first stage alone", "one query", "without energy", "nothing found"],
)  # fmt: skip
@pytest.mark.parametrize("svgs", [{}, dict.fromkeys(DRAWN, SVG)], ids=["without pictures", "with pictures"])
def test_no_heading_is_without_content(found: Any, svgs: Any) -> None:
    for anchor, parts in sections(trial_of(found, passages(), svgs)).items():
        kinds = [kind for kind, _ in parts]
        assert kinds[0] == "h2", anchor
        assert kinds[-1] not in ("h2", "h3"), anchor
        assert ("h3", "h3") not in list(pairwise(kinds)), anchor


def test_where_energy_was_neither_measured_nor_asked_for_it_is_a_note_and_no_section() -> None:
    text = Page(trial_of(without_energy(), passages(), {})).text
    assert "Energy and price" not in text
    assert "Energy was not measured: plain." in text
    assert "Energy and price" in Page(trial_page()).text  # a price was asked for


def test_the_head_names_the_system_its_length_and_its_precision() -> None:
    found = full()
    found["effective"]["reranker"] |= {
        "model": "org/large", "revision": "sha256:0123456789abcdef0123", "precision": "fp16", "dtype": "float16",
        "architecture": "BertForSequenceClassification", "layers": 24, "parameters": 335_142_401, "max_length": 512,
        "truncation": "longest_first", "attention": "packed, varlen", "device_name": "a GPU",
    }  # fmt: skip
    found["effective"]["scoring"] |= {"pairs": 2000, "truncated_pairs": 1234}
    text = Page(trial_of(found, passages(), {})).text
    head = text[: text.index("What reranking changed")]
    for fact in (
        "First stage plain",
        "Model org/large, revision sha256:0123456789ab Architecture",
        "Architecture BertForSequenceClassification, 24 layers, 335.1 million parameters",
        "Maximum length 512 tokens a pair",
        "Truncation longest_first, the longer of query and passage loses its end first; 1,234 of 2,000 pairs were cut",
        "Precision fp16 (float16)",
        "Attention packed, varlen",
        "Device a GPU",
        "Depth 10 candidates a query",
    ):
        assert fact in head


def test_the_head_of_a_finished_run_names_its_file_and_no_model() -> None:
    found = full() | {"cost": None}
    found["effective"]["reranker"] = {"name": "bge", "path": "runs/bge.trec"}
    text = Page(trial_of(found, passages(), {})).text
    assert "Run file runs/bge.trec" in text
    for name in ("Model", "Architecture", "Maximum length", "Truncation", "Precision"):
        assert name not in text[: text.index("What reranking changed")]


def groups(*members: Any) -> Any:
    """A result whose queries are of these groups: label, queries, change, ends of its interval."""
    found = full()
    found["analysis"]["breakdown"]["question_word"] = [
        {"label": label, "queries": n, "before": 0.5, "after": 0.5 + delta, "delta": delta, "ci95": [low, high]}
        for label, n, delta, low, high in members
    ]
    return found


def rows_of(page: Any, anchor: Any) -> Any:
    """The rows of a section's tables: their words, and the classes within each."""
    part = page[page.index(f'id="{anchor}"') :].partition("</section>")[0]
    rows = re.findall(r"<tr.*?</tr>", part)
    return [(re.sub(r"<[^>]*>", " ", row).split(), set(re.findall(r'class="([^"]*)"', row))) for row in rows]


def test_a_group_whose_interval_holds_0_has_neither_arrow_nor_colour_and_a_small_one_is_marked() -> None:
    page = trial_of(
        groups(("how many", 3, 0.3335, -0.1673, 0.8344), ("what", 11, 0.1475, 0.0717, 0.2232),
               ("why", 40, -0.1, -0.15, -0.05), ("who", 1, 0.4, None, None)),
        passages(), {},
    )  # fmt: skip
    rows = {words[0]: (words, classes) for words, classes in rows_of(page, "breakdown")[1:]}
    assert rows["how"][0][2:4] == ["3", "(few)"]
    assert rows["who"][0][1:3] == ["1", "(few)"]
    assert rows["what"][0][1:3] == ["11", "0.5000"]
    looks = {name: classes & {"up", "down", "around rise", "around fall"} for name, (_, classes) in rows.items()}
    assert looks == {"how": set(), "who": set(), "what": {"up", "around rise"}, "why": {"down", "around fall"}}
    assert "Few: fewer than 10 queries, too few for a reliable mean." in Page(page).text


def test_a_group_of_all_queries_is_a_sentence_and_no_table() -> None:
    text = Page(trial_of(groups(("what", 74, 0.1, 0.05, 0.15)), passages(), {})).text
    assert "All queries are of one group by question word: what." in text
    assert "By question word" not in text


def spans(page: Any, anchor: Any) -> Any:
    """The ends of the intervals drawn in a section: 64 is 0, and 60 units the largest distance from it."""
    part = page[page.index(f'id="{anchor}"') :].partition("</section>")[0]
    return re.findall(r'class="span" x1="([^"]*)" x2="([^"]*)"', part)


def test_a_drawing_of_an_interval_ends_where_the_mean_would_pass_0_or_1() -> None:
    found = groups(("three", 3, -0.25, -1.1683, 0.6683), ("many", 50, 0.25, 0.125, 0.375))
    page = trial_of(found, passages(), {})
    assert spans(page, "breakdown") == [("4.0", "124.0"), ("79.0", "109.0")]  # from -0.5 to 0.5, around 0.5
    assert "-1.1683 to +0.6683" in Page(page).text  # Student's t as it is


def test_a_drawing_of_an_interval_ends_at_the_ceiling_of_its_measure() -> None:
    found = full()
    effect = found["effectiveness"]
    effect["ceiling"]["mean"] = {"nDCG@10": 0.875, "RR@10": 1.0}
    effect["delta_ci95"]["nDCG@10"] = [0.125, 0.5]
    assert spans(trial_of(found, passages(), {}), "quality") == [("84.0", "124.0")]  # 0.125 and 0.375 of 0.375


def test_a_mean_change_that_is_not_clear_has_no_arrow_in_the_table_of_measures() -> None:
    found = full()
    found["effectiveness"]["delta_ci95"] = {"nDCG@10": [-0.01, 0.51], "RR@10": [None, None]}
    found["effectiveness"]["delta"] = {"nDCG@10": 0.25, "RR@10": 0.25}
    rows = rows_of(trial_of(found, passages(), {}), "quality")
    assert not [classes for words, classes in rows if words[0] in NAMES and classes & {"up", "down"}]


def test_a_difference_from_a_published_figure_is_neither_better_nor_worse() -> None:
    rows = rows_of(trial_page(), "references")
    assert "+0.0125" in rows[1][0]
    assert not [classes for _, classes in rows if classes & {"up", "down"}]


def test_a_page_of_a_first_stage_alone_does_not_mention_a_reranked_list() -> None:
    parsed = Page(alone_page())
    text = parsed.text
    outcome = text.rpartition("Asked and done")[0]
    for words in ("before", "after", "change", "+ none", "\u2192", "interval", "Where it helps", "worth it", "ties",
                  "win/tie/loss", "reranking", "reranked list", "not reranked"):  # fmt: skip
        assert words not in outcome, words
    assert "No reranker nDCG@10 0.5000 by plain." in outcome
    assert "measure plain ceiling nDCG@10 0.5000 1.0000 RR@10 0.5000 1.0000" in outcome
    assert "Unjudged passages in the top 10: 12.5%." in outcome
    assert "plain 0.5000 0.5000 q1 \u00b7 2 relevant, the best at rank 4 rank 4 \u00b7 grade 3, relevant" in outcome
    assert [found["id"] for found in parsed.all("section")] == [
        "quality", "warnings", "breakdown", "queries", "settings", "origin",
    ]  # fmt: skip


def test_every_column_of_queries_has_a_distinct_name_for_sorting() -> None:
    sortable = [found for found in Page(trial_page()).all("th") if "data-column" in found]
    names = [found["abbr"] for found in sortable]
    assert names == ["query", *(f"{name} {head}" for name in NAMES for head in ("before", "after", "change"))]
    alone_names = [found["abbr"] for found in Page(alone_page()).all("th") if "data-column" in found]
    assert alone_names == ["query", *NAMES]


def test_a_first_forward_that_is_cold_is_explained() -> None:
    text = Page(trial_page()).text
    assert "Cold: the first query after loading, with all of its passages. In it libraries choose and compile" in text
