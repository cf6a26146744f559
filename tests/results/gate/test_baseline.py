import hashlib
import json
import os
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evalkit.boundary.errors import EvalkitError
from evalkit.boundary.text import escape_id
from evalkit.rerankers.trec_run import TrecRun
from evalkit.results.gate import baseline
from evalkit.results.gate.limits import STORED
from evalkit.results.reading import Finished
from evalkit.results.result import to_plain
from evalkit.types import Hit, Run
from tests.conftest import REPOSITORY
from tests.helpers.results import edited as edited_result
from tests.helpers.results import plain_cost, plain_result, result_of

GOLDEN = REPOSITORY / "tests" / "golden" / "baseline.json"
# One relevant passage for each query; reranking moves it from rank 2 to 1, from 1 to 3, and from 3 to 1.
FIRST = {"nDCG@10": {"q1": 0.63092975, "q2": 1.0, "ق-1": 0.5}, "RR@10": {"q1": 0.5, "q2": 1.0, "ق-1": 1 / 3}}
RERANKED = {"nDCG@10": {"q1": 1.0, "q2": 0.5, "ق-1": 1.0}, "RR@10": {"q1": 1.0, "q2": 1 / 3, "ق-1": 1.0}}
HITS = {"q1": (Hit("b", 2.5), Hit("a", -0.123456)), "q2": (Hit("c", 0.5),), "ق-1": (Hit("文-1", 11.00006),)}


def finished(first: Any = FIRST, reranked: Any = RERANKED, hits: Any = HITS, depth: Any = 3, **systems: Any) -> Any:
    counts = ("pairs", "pairs_unscored", "truncated_pairs", "tied_pairs", "queries_with_constant_score",
              "queries_reordered", "queries_without_hits", "tokens")  # fmt: skip
    per_query = {"first_stage": first, "reranked": reranked}
    plain = plain_result()
    plain["effective"] = {
        "slice": {"name": "tiny", "lang": "ar", "queries": 3, "docs": 4, "relevance_level": 1, "seed": 13,
                  "fingerprint": "0",
                  "fingerprints": {"queries": "sha256:1", "docs": "sha256:2", "judgments": "sha256:3"}},
        "first_stage": {"name": "bm25", "k1": 0.9, "analysis": {"stemmer": "arabic"}},
        "reranker": {"name": "bge", "max_length": 512}, "depth": depth,
        "scoring": dict.fromkeys(counts, 7) | {"pairs": sum(min(len(ranked), depth) for ranked in hits.values())},
    } | systems  # fmt: skip
    plain["effectiveness"] |= {side: {"mean": dict.fromkeys(reranked, 1.0)} for side in (*per_query, "ceiling")}
    plain["effectiveness"] |= {"per_query": per_query, "unjudged_at_10": {"first_stage": 0.0, "reranked": 4 / 7}}
    return Finished("", result_of(plain), Run("bge", hits), {}, {})


SMALL = baseline.of(finished())
TEXT = baseline.dump(SMALL)


def test_a_baseline_has_the_promised_form_whatever_the_order_of_queries() -> None:
    """tests/golden/baseline.json lies in the repositories of users: EVALKIT_WRITE_GOLDEN=1 renews it."""
    if os.environ.get("EVALKIT_WRITE_GOLDEN") == "1":
        baseline.write(SMALL, GOLDEN)
    assert GOLDEN.read_bytes() == TEXT.encode()
    assert baseline.read(GOLDEN) == SMALL
    first, reranked = ({m: dict(reversed(v.items())) for m, v in values.items()} for values in (FIRST, RERANKED))
    assert baseline.dump(baseline.of(finished(first, reranked, dict(reversed(HITS.items()))))) == TEXT
    means = json.loads(TEXT)["means"]
    assert means["nDCG@10"] == {"first_stage": 0.710310, "reranked": 0.833333, "ceiling": 1.0}  # 2.13093/3, 2.5/3
    assert means["RR@10"] == {"first_stage": 0.611111, "reranked": 0.777778, "ceiling": 1.0}  # 11/18, 7/9


ids = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=5).map(escape_id) | st.just("ق-1")
shares = st.integers(0, 10**6).map(lambda n: n / 10**6)
facts = st.dictionaries(ids, st.none() | st.booleans() | shares | ids | st.dictionaries(ids, ids, max_size=2))


@st.composite
def baselines(draw: Any) -> Any:
    measures = draw(st.lists(st.sampled_from(["nDCG@10", "RR(rel=2)@10", "R@50"]), min_size=1, unique=True))
    queries = draw(st.lists(ids, min_size=1, max_size=4, unique=True))
    first, reranked = ({m: {q: draw(shares) for q in queries} for m in measures} for _ in range(2))
    hits = st.lists(st.builds(Hit, ids, st.integers(-(10**7), 10**7).map(lambda n: n / 10**4)), max_size=4).map(tuple)
    ceiling, top = {m: draw(shares) for m in measures}, {q: draw(hits) for q in queries}
    return replace(
        SMALL,
        first=first,
        reranked=reranked,
        ceiling=ceiling,
        top=top,
        unjudged_at_10=draw(shares),
        slice=replace(SMALL.slice, name=draw(ids)),
        reranker=draw(facts) | {"name": draw(ids)},
    )


@settings(deadline=None, max_examples=60)
@given(baselines())
def test_what_is_written_is_read_back_and_has_sorted_keys_and_a_line_for_each_query(
    tmp_path_factory: pytest.TempPathFactory, some: Any
) -> None:
    path = tmp_path_factory.mktemp("baseline") / "ci.json"
    baseline.write(some, path)
    assert baseline.read(path) == some
    text = path.read_bytes().decode()
    assert baseline.dump(baseline.read(path)) == text
    assert text.endswith("}\n")
    assert json.dumps(json.loads(text)) == json.dumps(json.loads(text), sort_keys=True)
    inside = text.split('\n "per_query": {\n')[1].split("\n }")[0].split("\n")
    assert [list(json.loads(f"{{{line.removesuffix(',')}}}")) for line in inside] == [[q] for q in sorted(some.top)]


def test_neither_machine_nor_moment_gets_into_a_baseline() -> None:
    done = finished(
        first_stage={**TrecRun("/home/me/monot5.trec").describe(), "tag": "lucene", "engine": "bm25s", "index_s": 61.5},
        reranker={"name": "bge", "model": "/home/me/bge", "device": "cuda:0", "device_name": "NVIDIA H200",
                  "attention": "padded, sdpa", "batch_tokens": 4096, "max_length": 512, "load_s": 62.5},
    )  # fmt: skip
    moment = {"started": "2031-02-03T04:05:06", "host": "box", "env": {"HOME": "/home/me"}}
    more = {"provenance": moment, "cost": plain_cost(scoring_s=63.5), "asked": {"out_dir": "/home/me/out"}}
    done = edited_result(done, lambda plain: plain.update(more))
    text = baseline.dump(baseline.of(done))
    for word in ("/home", ".trec", "cuda", "NVIDIA", "2031", "box", "bm25s", "4096", "61.5", "62.5", "63.5", "64.5"):
        assert word not in text
    assert '"first_stage": {"name": "monot5", "tag": "lucene"}' in text
    assert '"reranker": {"max_length": 512, "name": "bge"}' in text


def test_measures_have_six_decimals_logits_have_four_and_20_hits_are_recorded() -> None:
    assert (SMALL.first["nDCG@10"]["q1"], SMALL.unjudged_at_10) == (0.63093, 0.571429)
    assert SMALL.top["q1"] + SMALL.top["ق-1"] == (Hit("b", 2.5), Hit("a", -0.1235), Hit("文-1", 11.0001))
    hits = tuple(Hit(f"d{i}", -float(i)) for i in range(40))
    for depth, recorded in ((1, 1), (20, 20), (30, 20)):
        assert baseline.of(finished(hits={"q1": hits}, depth=depth)).top == {"q1": hits[:recorded], "q2": (), "ق-1": ()}


def refused(path: Any, content: Any = None) -> Any:
    if content is not None:
        path.write_bytes(content.encode() if isinstance(content, str) else content)
    with pytest.raises(EvalkitError) as caught:
        baseline.read(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def change(content: Any, case: Any) -> Any:
    """Take the part ``a.b`` out of `content`, or with ``a.b=1`` put 1 in its place; return `content`."""
    part, _, value = case.partition("=")
    *way, last = part.split(".")
    inner = content
    for key in way:
        inner = inner[key]
    inner.update({last: json.loads(value)}) if value else inner.pop(last)
    return content


def edited(case: Any) -> Any:  # by somebody who knows how the checksum is made
    content = change(change(json.loads(TEXT), "checksum"), case)
    canonical = json.dumps(content, sort_keys=True, ensure_ascii=False)
    return json.dumps({"checksum": f"sha256:{hashlib.sha256(canonical.encode()).hexdigest()}"} | content)


BROKEN = {
    "empty": (" \n", "is empty; it should be a baseline of evalkit"),
    "no JSON": ("[" * 100_000, "is not whole, or no JSON"),
    "a list": ("[]", "holds a list; it should be a baseline"),
    "binary": (b"\x89PNG\r\n\x1a\n\x00\xff", "cannot read"),
    "no checksum": ('{"status": "finished"}', "it has no checksum; write it with python -m evalkit baseline RESULT"),
    "of the future": (edited("schema_version=2"), "has schema version 2, and this evalkit reads 1"),
    "edited": (TEXT.replace("0.333333", "0.433333"), "was changed since it was written: its checksum does not match"),
    "with NaN": (TEXT.replace("0.333333", "NaN"), ""),
    "in conflict": (TEXT.replace(' "depth"', '<<<<<<< HEAD\n "depth"'), "is not whole, or no JSON"),
}


@pytest.mark.parametrize(("content", "why"), BROKEN.values(), ids=BROKEN)
def test_a_broken_baseline_is_refused_in_a_sentence(tmp_path: Path, content: Any, why: Any) -> None:
    assert why in refused(tmp_path / "ci.json", content)


def test_a_missing_baseline_names_the_command_that_makes_one_and_a_part_of_one_is_none(tmp_path: Path) -> None:
    path = tmp_path / "ci.json"
    assert f"python -m evalkit baseline RESULT --output {path}" in refused(path)
    assert "cannot read" in refused(tmp_path)  # a folder
    for end in range(0, len(TEXT.encode()) - 1, 5):
        refused(path, TEXT.encode()[:end])


@settings(deadline=None, max_examples=300)
@given(st.integers(0, len(TEXT.encode()) - 1), st.integers(32, 126))
def test_a_byte_that_changed_is_noticed_or_means_the_same(
    tmp_path_factory: pytest.TempPathFactory, position: Any, byte: Any
) -> None:
    path = tmp_path_factory.mktemp("baseline") / "ci.json"
    path.write_bytes(TEXT.encode()[:position] + bytes([byte]) + TEXT.encode()[position + 1 :])
    try:
        assert baseline.read(path) == SMALL
    except EvalkitError:
        refused(path)


def gone_or_changed(parts: str) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("case", parts.split())


@gone_or_changed(
    """depth first_stage means measures per_query reranker scoring slice unjudged_at_10 per_query.q1.top scoring.pairs
    per_query.q2.reranked.RR@10 means.RR@10.ceiling slice.fingerprints slice.fingerprints.docs
    slice.name means.RR@10 unjudged_at_10=NaN depth="three" measures=[]
    per_query={} per_query.q1.reranked.RR@10=NaN scoring.pairs=Infinity""",
)
def test_a_baseline_without_a_part_is_refused_though_its_checksum_is_right(tmp_path: Path, case: Any) -> None:
    refused(tmp_path / "ci.json", edited(case))


@pytest.mark.parametrize(
    ("case", "why"),
    [
        ("depth", "it has no 'depth'"),
        ('depth="three"', "depth is 'three', and has to be an integer"),
        ("depth=true", "depth is True, and has to be an integer"),
        ("depth=0", "depth is 0, and has to be above 0"),
        ("slice.name=3", "slice.name is 3, and has to be a text"),
        ("slice.fingerprints.docs", "slice.fingerprints has no 'docs'"),
        ("scoring.pairs=-1", "scoring.pairs is -1, and has to be 0 or more"),
        ("scoring.pairs=9223372036854775808", "9223372036854775808, and has to be an integer of 64 bits"),
        ("per_query.q1=[]", "per_query.q1 is a list, and has to be a mapping"),
        ("per_query.q1.reranked.RR@10", "per_query.q1.reranked has no 'RR@10'"),
        ("per_query.q1.reranked.RR@10=1.5", "per_query.q1.reranked.RR@10 is 1.5, and has to be 1 or less"),
        ('per_query.q1.top=[["a b", 1]]', "per_query.q1.top.0.0 is 'a b', and has to be an id without white space"),
        ('per_query.q1.top=[["a"]]', "per_query.q1.top.0 has too few values"),
        ("means.RR@10", "measures and means differ in 'RR@10'"),
        ('unknown={"title": 0.5}', "a name in unknown is 'title', and has to be 'query' or 'passage'"),
        ('limits={"skip": "x"}', "limits.skip is 'x', and has to be a list"),
        ('limits={"skip": ["x"]}', "limits.skip has 'x', which is no check that can be skipped"),
        ('limits={"max_of_2031": 3}', "limits has 'max_of_2031', which this version does not know"),
    ],
)
def test_a_damaged_field_is_named_with_what_it_is_and_what_it_has_to_be(tmp_path: Path, case: Any, why: Any) -> None:
    path = tmp_path / "ci.json"
    assert refused(path, edited(case)).startswith(f"{path} is no whole baseline (")
    assert f"{why}); write it anew with python -m evalkit baseline RESULT" in refused(path)


def test_fields_of_a_newer_version_are_left_out(tmp_path: Path) -> None:
    path = tmp_path / "ci.json"
    path.write_text(edited('seen_by="2031"'), "utf-8")
    assert baseline.read(path) == SMALL


def test_the_limits_that_a_baseline_can_hold_are_those_that_need_no_comparison() -> None:
    assert {field.name for field in fields(baseline.OwnLimits)} == {*STORED, "skip"}


def test_the_baseline_in_the_repository_is_read_and_written_as_it_is() -> None:
    path = REPOSITORY / "reports" / "baselines" / "ci.json"
    assert baseline.dump(baseline.read(path)) == path.read_text("utf-8")


@gone_or_changed(
    """effective effective.slice effective.slice.fingerprints effective.depth effective.scoring.tied_pairs
    effectiveness.per_query.reranked effectiveness.ceiling effectiveness.unjudged_at_10
    effectiveness.ceiling.mean.RR@10 effectiveness.per_query.first_stage.RR@10.q1 effective.depth=Infinity
    effectiveness.per_query.reranked.RR@10.q1=NaN""",
)
def test_a_result_that_lacks_a_part_is_no_standard(case: Any) -> None:
    plain = change(json.loads(json.dumps(to_plain(finished().result))), case)
    with pytest.raises((EvalkitError, ValueError), match=r"effective|the result in here "):
        baseline.dump(baseline.of(Finished("here", result_of(plain), Run("bge", HITS), {}, {})))


def test_a_baseline_is_written_whole_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "new" / "ci.json"
    for _ in range(2):
        baseline.write(SMALL, path)
        assert {path.name: path.read_text("utf-8") for path in path.parent.iterdir()} == {"ci.json": TEXT}
    with pytest.raises(EvalkitError, match=r"cannot write .*other\.json: .*; name another file with --output"):
        baseline.write(SMALL, path / "other.json")
    (tmp_path / "new" / "ci.json.part").symlink_to("/dev/full")  # a disk without space
    with pytest.raises(EvalkitError, match="cannot write"):
        baseline.write(baseline.of(finished(depth=1)), path)
    assert path.read_text("utf-8") == TEXT


def test_a_write_that_fails_leaves_no_part(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    with pytest.raises(EvalkitError, match="cannot write"):
        baseline.write(SMALL, tmp_path / "folder")
    assert [path.name for path in tmp_path.iterdir()] == ["folder"]
