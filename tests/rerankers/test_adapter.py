"""A component of one's own may return lists, arrays or tensors, and what it must not do is refused in one sentence."""

import asyncio
import enum
import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from evalkit import trial
from evalkit.boundary.errors import EvalkitError, NotFiniteError
from evalkit.cli.instantiate import build
from evalkit.first_stage.adapter import adapt_first_stage
from evalkit.first_stage.base import FirstStage
from evalkit.first_stage.bm25 import BM25
from evalkit.rerankers.adapter import adapt_reranker
from evalkit.rerankers.base import CallPrice, Reranker
from evalkit.rerankers.none import NoReranker
from evalkit.slices.adapter import check_slice
from evalkit.types import Hit, Pair, Run, Scores
from tests.test_trial import FixedOrder, collection, everywhere, plan

LATE: Any = {"tokenize_s": "1 s"}

PAIRS = [Pair("q0", f"d{i}") for i in range(3)]
QUERIES, DOCS = {"q0": "query"}, {f"d{i}": f"text {i}" for i in range(3)}


def reranker(found: Any, /, **members: Any) -> Any:
    """An object of a class that has `score` and these members, and inherits nothing."""
    return type("Mine", (), {"score": lambda self, pairs, queries, docs: found, **members})()


def logits(found: Any, **members: Any) -> Any:
    return adapt_reranker(reranker(found, **members), "mine.Mine").score(PAIRS, QUERIES, DOCS).logits


def refusal(work: Any, *arguments: Any, **settings: Any) -> Any:
    with pytest.raises(EvalkitError) as caught:
        work(*arguments, **settings)
    return str(caught.value)


# --- scores -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "found",
    [
        [1, 0.5, -2],
        (1.0, 0.5, -2.0),
        np.array([1, 0.5, -2], dtype=np.float32),
        [np.float16(1), np.float64(0.5), np.int64(-2)],
        np.array([1, 0.5, -2]).reshape(3),
        torch.tensor([1, 0.5, -2], dtype=torch.bfloat16),
        torch.tensor([1.0, 0.5, -2.0], requires_grad=True),
        [torch.tensor(1.0), torch.tensor([0.5]), -2],
        Scores((1.0, 0.5, -2.0)),
        Scores(np.array([1, 0.5, -2])),  # type: ignore[arg-type]
    ],
)
def test_scores_may_be_a_list_an_array_or_a_tensor(found: Any) -> None:
    got = logits(found)
    assert got == (1.0, 0.5, -2.0)
    assert {type(one) for one in got} == {float}


def test_scores_may_come_from_a_generator() -> None:
    assert logits(number / 2 for number in range(3)) == (0.0, 0.5, 1.0)


@given(st.lists(st.none() | st.floats(allow_nan=False, width=32), min_size=3, max_size=3))
def test_a_score_is_what_was_returned_and_none_stays_none(found: Any) -> None:
    assert logits(list(found)) == logits(tuple(found)) == tuple(found)
    assert logits([None if one is None else np.float32(one) for one in found]) == tuple(found)


@pytest.mark.parametrize(
    ("found", "message"),
    [
        ([1.0, 2.0], "mine.Mine: score returned 2 scores for 3 pairs; it has to return one for each, in their order"),
        ([], "mine.Mine: score returned 0 scores for 3 pairs"),
        (Scores((1.0,) * 4), "mine.Mine: score returned 4 scores for 3 pairs"),
        (
            np.zeros((3, 1)),
            "mine.Mine: score returned an array of shape (3, 1), and has to return one number for each pair",
        ),
        (
            torch.tensor(1.0),
            "mine.Mine: score returned an array of shape (), and has to return one number for each pair",
        ),
        (None, "mine.Mine: score returned nothing, and has to return a list of numbers, one for each pair"),
        ({"d0": 1.0}, "mine.Mine: score returned a dict, and has to return a list of numbers"),
        ("abc", "mine.Mine: score returned a str, and has to return a list of numbers"),
        (0.5, "mine.Mine: score returned a float, and has to return a list of numbers"),
        ([1.0, "0.5", 2.0], "mine.Mine: score: score 1 is a str, and has to be a number, or None for none"),
        ([True, 0.5, 2.0], "mine.Mine: score: score 0 is a bool, and has to be a number"),
        ([1.0, 0.5, [2.0]], "mine.Mine: score: score 2 is a list, and has to be a number"),
        (Scores((1.0,) * 3, truncated_pairs=-1), "mine.Mine: score: truncated_pairs is -1, and has to be 0 or more"),
        (Scores((1.0,) * 3, **LATE), "mine.Mine: score: tokenize_s is '1 s', and has to be a number"),
        (Scores((1.0,) * 3, from_store=1), "mine.Mine: score returned 1 scores from a store, and it is timed"),
    ],
    ids=str,
)
def test_what_is_no_list_of_scores_is_refused(found: Any, message: Any) -> None:
    assert message in refusal(logits, found)


def test_counts_may_be_numbers_of_numpy_and_become_plain() -> None:
    counts: dict[str, Any] = {"truncated_pairs": np.int64(2), "tokens": np.int32(9), "forward_s": np.float32(0.5)}
    given_ = Scores((1.0,) * 3, **counts)
    found = adapt_reranker(reranker(given_)).score(PAIRS, QUERIES, DOCS)
    assert json.loads(json.dumps([found.truncated_pairs, found.tokens, found.forward_s])) == [2, 9, 0.5]


def test_nan_and_infinity_end_a_trial_as_for_any_reranker() -> None:
    data = collection(1)
    for bad in (np.nan, float("inf"), -np.inf):
        with pytest.raises(NotFiniteError, match="as logit for query 'q0' and passage 'd1'"):
            trial.run(plan(), data, everywhere(data, "d0", "d1"), reranker([1.0, bad]), {}, {})


def test_pairs_without_a_score_follow_and_a_reranker_without_any_changes_nothing() -> None:
    data = collection(1)
    first = everywhere(data, "d0", "d1", "d2")
    done = trial.run(plan(), data, first, reranker([None, None, 3.0]), {}, {})
    assert [hit.doc_id for hit in done.reranked.rankings["q0"]] == ["d2", "d0", "d1"]
    done = trial.run(plan(), data, first, reranker([None] * 3), {}, {})
    assert [hit.doc_id for hit in done.reranked.rankings["q0"]] == ["d0", "d1", "d2"]
    assert done.effective["scoring"]["pairs_unscored"] == 3


def test_what_is_done_to_the_pairs_there_stays_there() -> None:
    class Sorting:
        def score(self, pairs: Any, queries: Any, docs: Any) -> Any:
            pairs.reverse()
            return [float(pair.doc_id[1]) for pair in pairs]

    pairs = list(PAIRS)
    assert adapt_reranker(Sorting()).score(pairs, QUERIES, DOCS).logits == (2.0, 1.0, 0.0)
    assert pairs == PAIRS


# --- members ----------------------------------------------------------------------------------------------------------


def test_a_class_that_inherits_and_one_that_does_not_are_equal() -> None:
    class Inherits(Reranker):
        def score(self, pairs: Any, queries: Any, docs: Any, on_progress: Any = None) -> Any:
            return [1.0] * len(pairs)

    for component in (Inherits(), reranker([1.0] * 3)):
        got = adapt_reranker(component)
        got.check()
        got.check_protocol({"warmup_queries": 3})
        got.load()
        assert got.score(PAIRS, QUERIES, DOCS) == got.score_all(PAIRS, QUERIES, DOCS) == Scores((1.0,) * 3)
        assert (got.computes, got.device, got.remote, got.engine, got.describe()) == (True, "cpu", False, None, {})
        assert got.shown_name == type(component).__name__
        assert adapt_reranker(got) is got


def test_a_price_is_passed_on_and_has_to_be_one() -> None:
    class Charges(Reranker):
        price = CallPrice(2.0, None)

        def score(self, pairs: Any, queries: Any, docs: Any, on_progress: Any = None) -> Any:
            return [1.0] * len(pairs)

    class Wrong(Charges):
        price: Any = 2.0

    assert adapt_reranker(Charges()).price == CallPrice(2.0, None)
    with pytest.raises(EvalkitError, match=r"price is .*, and has to be a CallPrice"):
        adapt_reranker(Wrong())
    assert adapt_reranker(reranker([1.0], price=2.0)).price is None  # another class may mean something else by it


def test_a_dataclass_may_declare_the_members_anew_without_a_default() -> None:
    @dataclass
    class Mine(Reranker):
        name: str
        device: str
        model: str

        def score(self, pairs: Any, queries: Any, docs: Any, on_progress: Any = None) -> Any:
            return [0.0] * len(pairs)

    got = adapt_reranker(Mine("it", "cpu", "m"))
    assert (got.shown_name, got.device, got.computes) == ("it", "cpu", True)
    with pytest.raises(TypeError, match="missing 3 required positional arguments"):
        Mine()  # type: ignore[call-arg]


def test_evalkits_own_components_stay_what_they_are() -> None:
    none, bm25 = NoReranker(), BM25()
    assert (adapt_reranker(none), adapt_first_stage(bm25)) == (none, bm25)
    assert adapt_reranker(none) is none


def test_members_of_ones_own_are_those_that_are_called() -> None:
    calls = []

    class Mine:
        name, computes, device = "it", False, torch.device("cuda", 1)

        def check(self) -> None:
            calls.append("check")

        def load(self) -> None:
            calls.append("load")

        def score(self, pairs: Any, queries: Any, docs: Any, *, on_progress: Any) -> Any:
            on_progress(np.int64(len(pairs)))
            return [0.0] * len(pairs)

        def score_all(self, pairs: Any, queries: Any, docs: Any) -> Any:
            return Scores((1.0,) * len(pairs), from_store=2)

    got = adapt_reranker(Mine())
    got.check()
    got.load()
    assert calls == ["check", "load"]
    assert (got.shown_name, got.computes, got.device) == ("it", False, "cuda:1")
    seen: list[int] = []
    assert got.score(PAIRS, QUERIES, DOCS, seen.append).logits == (0.0,) * 3
    assert got.score_all(PAIRS, QUERIES, DOCS, seen.append).from_store == 2
    assert seen == [3, 3]  # by the component, and for one that takes no on_progress at its end


def test_a_fourth_parameter_that_is_not_on_progress_is_left_alone() -> None:
    class Mine:
        def score(self, pairs: Any, queries: Any, docs: Any, batch_size: Any = 32) -> Any:
            return [float(batch_size)] * len(pairs)

    assert adapt_reranker(Mine()).score(PAIRS, QUERIES, DOCS, lambda n: None).logits == (32.0,) * 3


def test_an_attribute_of_another_meaning_is_ignored_where_nothing_is_inherited() -> None:
    got = adapt_reranker(reranker([1.0] * 3, engine="vllm", device=object()))
    assert (got.engine, got.device) == (None, "cpu")


class Bare:
    pass


@pytest.mark.parametrize(
    ("component", "message"),
    [
        (Bare(), "tests.rerankers.test_adapter.Bare: it has no method score(pairs, queries, docs), which is what a "
                 "reranker needs (evalkit.rerankers.base.Reranker)"),
        (type("Two", (), {"score": lambda self, query, passages: []})(),
         "Two: score(query, passages) has to take (pairs, queries, docs), and may take on_progress besides"),
        (type("Four", (), {"score": lambda self, pairs, queries, docs, model: []})(),
         "Four: score(pairs, queries, docs, model) has to take (pairs, queries, docs)"),
        (type("Value", (), {"score": 0.5})(), "Value: score is a float, and has to be a method"),
        (reranker([], computes="yes"), "Mine: computes is 'yes', and has to be true or false"),
        (reranker([], remote=1), "Mine: remote is 1, and has to be true or false"),
        (reranker([], concurrent="yes"), "Mine: concurrent is 'yes', and has to be true or false"),
        (reranker([], device="mps"), "Mine: device is 'mps', and has to be cpu, cuda, cuda:N or auto"),
        (reranker([], name="a\nb"), "Mine: name is 'a\\nb', and has to be a text of one line"),
        (type("Engined", (Reranker,), {"score": lambda self, p, q, d: [], "engine": "vllm"})(),
         "Engined: engine is a str, and has to have facts, tokenize, weights_mb and predicted_peak_mb"),
    ],
)  # fmt: skip
def test_what_has_not_the_shape_is_refused_by_the_member(component: Any, message: Any) -> None:
    def use() -> None:
        _ = adapt_reranker(component).engine

    assert message in refusal(use)


def test_what_its_own_code_raises_is_one_sentence_with_file_and_line() -> None:
    def broken(self: Any, *of: Any) -> Any:
        raise KeyError("x")

    got = adapt_reranker(reranker([], score=broken, load=broken, describe=broken), "_target_=mine.Mine")
    here = f"({Path(__file__).name}, line {broken.__code__.co_firstlineno + 1}); HYDRA_FULL_ERROR=1 shows the traceback"
    for work, name in ((got.load, "load"), (got.describe, "describe")):
        assert refusal(work) == f"_target_=mine.Mine: {name} failed with KeyError: 'x' {here}"
    assert refusal(got.score, PAIRS, QUERIES, DOCS) == f"_target_=mine.Mine: score failed with KeyError: 'x' {here}"


def test_a_component_cannot_end_the_process_and_its_own_sentence_is_shown_as_it_is() -> None:
    def ends(self: Any) -> None:
        sys.exit(0)

    def refuses(self: Any) -> None:
        raise EvalkitError("reranker.url=...: nobody answers")

    assert "load failed with SystemExit: 0" in refusal(adapt_reranker(reranker([], load=ends)).load)
    assert refusal(adapt_reranker(reranker([], load=refuses)).load) == "reranker.url=...: nobody answers"


def test_what_nothing_waits_for_is_refused() -> None:
    async def later(self: Any, pairs: Any, queries: Any, docs: Any) -> None:
        await asyncio.sleep(0)

    error = refusal(adapt_reranker(reranker([], score=later)).score, PAIRS, QUERIES, DOCS)
    assert error.endswith("score is asynchronous, and evalkit does not await it; wrap it in asyncio.run(...)")


def test_a_passage_without_a_text_is_refused_before_it_is_asked_for() -> None:
    error = refusal(adapt_reranker(reranker([0.0] * 3)).score, [Pair("q0", "other")], QUERIES, DOCS)
    assert error.startswith("1 passages of the first stage have no text in this slice (e.g. 'other')")


# --- descriptions -----------------------------------------------------------------------------------------------------


class Colour(enum.Enum):
    RED = "red"


class Point(NamedTuple):
    x: int
    y: int


def test_what_is_described_becomes_json() -> None:
    described = {
        "model": Path("models/mine"), "layers": np.int64(6), "share": np.float32(0.5), "dtype": torch.float16,
        "device": torch.device("cpu"), "ids": np.arange(3), "kinds": {"b", "a"}, "colour": Colour.RED, 3: (1, 2),
        "precision": None, "max_length": None, "point": Point(1, 2), "np": np.bool_(True),
    }  # fmt: skip
    got = adapt_reranker(reranker([], describe=lambda self: described)).describe()
    assert json.loads(json.dumps(got)) == {
        "model": "models/mine", "layers": 6, "share": 0.5, "dtype": "torch.float16", "device": "cpu", "ids": [0, 1, 2],
        "kinds": ["a", "b"], "colour": "red", "3": [1, 2], "max_length": None, "point": [1, 2], "np": True,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("described", "message"),
    [
        (["name"], "mine.Mine: describe() is a list, and has to be a mapping of names to values"),
        ({"loss": float("nan")}, "mine.Mine: describe()['loss'] is nan, which JSON cannot hold"),
        ({"a": {"b": object()}}, "mine.Mine: describe()['a']['b'] is an object, which JSON cannot hold"),
        ({"x": "\ud800"}, "mine.Mine: describe()['x'] has a lone surrogate, which JSON cannot hold"),
        ({"precision": 16}, "mine.Mine: describe().precision is 16, and has to be a text"),
        ({"name": "a\nb"}, "mine.Mine: describe().name is 'a\\nb', and has to be a text of one line"),
        ({"batch_tokens": "many"}, "mine.Mine: describe().batch_tokens is 'many', and has to be an integer or null"),
    ],
)
def test_what_json_or_the_reports_cannot_hold_is_refused(described: Any, message: Any) -> None:
    got = adapt_reranker(reranker([], describe=lambda self: described), "mine.Mine")
    assert refusal(got.describe).startswith(message)


# --- first stages and slices ------------------------------------------------------------------------------------------


def search(found: Any, **members: Any) -> Any:
    component = type("Mine", (), {"search": lambda self, data, depth: found, **members})()
    return adapt_first_stage(component, "mine.Mine").search(collection(2), 3)


def test_hits_may_be_lists_and_numbers_of_numpy_and_a_query_may_be_left_out() -> None:
    got = search({"q1": [("d1", np.float32(2)), ["d0", 2]]})
    assert got == Run("Mine", {"q0": (), "q1": (Hit("d1", 2.0), Hit("d0", 2.0))})
    assert search(Run("own", {"q0": (Hit("d0", 1.0),)})).name == "own"


@pytest.mark.parametrize(
    ("found", "message"),
    [
        (None, "search returned nothing, and has to return a Run (evalkit.types): query_id -> hits, best first"),
        ({"q9": []}, "search returned hits for 'q9', which is not a query of the slice"),
        ({"q0": [("d0", 1.0), ("d1", 2.0)]},
         "search: hit 2 of query 'q0' has a higher score (2) than the hit before it (1); hits are given best first"),
        ({"q0": ["d0", "d1"]}, "search: hit 1 of query 'q0' is a str, and has to be (doc_id, score)"),
        ({"q0": [(0, 1.0)]}, "search: hit 1 of query 'q0' is a tuple, and has to be (doc_id, score)"),
        ({"q0": {"d0": 1.0}}, "search: hits of query 'q0' are a dict, and have to be a list"),
        ({"q0": [("d0", float("nan"))]},
         "search: hit 1 of query 'q0' has the score nan, and a finite number is needed"),
        ({"q0": [("d0", 1.0), ("d0", 0.5)]}, "search: a passage occurs twice among the hits of query 'q0'"),
    ],
)  # fmt: skip
def test_what_is_no_ranking_is_refused(found: Any, message: Any) -> None:
    assert refusal(search, found) == f"mine.Mine: {message}"


def test_a_first_stage_that_inherits_needs_search_alone() -> None:
    class Mine(FirstStage):
        def search(self, data: Any, depth: Any) -> Any:
            return {query_id: [("d0", 1.0)] for query_id in data.queries}

    data = collection(2)
    done = trial.run(plan(), data, Mine(), NoReranker(), {}, {})
    assert done.effective["first_stage"] == {"name": "Mine"}
    assert "it has no method search(slice, depth), which is what a first stage needs" in refusal(
        adapt_first_stage, Bare()
    )


def test_time_that_keeping_an_index_took_is_no_part_of_searching() -> None:
    class Mine(FixedOrder):
        cache_s = 1000.0

    data = collection(1)
    first_stage: Any = Mine({"q0": ["d0", "d1"]})
    done = trial.run(plan(), data, first_stage, reranker([1.0, 2.0]), {}, {})
    assert done.cost is not None
    assert done.cost.first_stage_s < -900


def test_a_slice_is_one_that_was_assembled() -> None:
    data = collection(2)
    assert check_slice(data, "mine.load") == data
    assert refusal(check_slice, {"queries": {}}, "mine.load") == (
        "mine.load: it returned a dict, and has to return a Slice, which evalkit.slices.assemble.assemble makes"
    )
    bare = type(data)("x", "en", data.queries, data.docs, data.qrels, "f")
    assert refusal(check_slice, bare, "mine.load") == (
        "mine.load: facts of the slice has no 'queries'; evalkit.slices.assemble.assemble counts what is needed"
    )


# --- what a configuration names ---------------------------------------------------------------------------------------


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Write a module and allow it; return what builds a target of it."""

    def write(source: Any, kind: Any = "rerankers", **settings: Any) -> Any:
        name = f"mine_{abs(hash(source))}"
        (tmp_path / f"{name}.py").write_text(source, "utf-8")
        monkeypatch.syspath_prepend(str(tmp_path))
        monkeypatch.setenv("EVALKIT_ALLOW_TARGETS", name)
        return build({"_target_": f"{name}.Mine", **settings}, kind)

    return write


SCORE = "    def score(self, pairs, queries, docs):\n        return [0.0] * len(pairs)\n"


def test_a_target_of_ones_own_is_built_from_its_settings(module: Any) -> None:
    got = module(f"class Mine:\n    def __init__(self, name):\n        self.name = name\n{SCORE}", name="it")
    assert isinstance(got, Reranker)
    assert got.shown_name == "it"


def test_a_function_may_make_the_component(module: Any) -> None:
    got = module(f"class _M:\n{SCORE}\ndef Mine(name: str = 'it'):\n    m = _M()\n    m.name = name\n    return m\n")
    assert got.shown_name == "it"


@pytest.mark.parametrize(
    ("source", "settings", "message"),
    [
        (f"class Mine:\n    def __init__(self, url): ...\n{SCORE}", {},
         "missing a required argument: 'url'; its settings are url"),
        (f"class Mine:\n{SCORE}", {"url": "x"}, "got an unexpected keyword argument 'url'; it has no settings"),
        (f"class Mine:\n    def __init__(self, n: int): ...\n{SCORE}", {"n": "x"},
         "n is 'x', and has to be an integer"),
        (f"class Mine:\n    def __init__(self):\n        self.x = 1 / 0\n{SCORE}", {},
         "creating it from its settings failed with ZeroDivisionError: division by zero (mine_"),
        ("import nowhere_to_be_found\n", {},
         "failed with ModuleNotFoundError: No module named 'nowhere_to_be_found' ("),
        ("1 / 0\n", {}, "failed with ZeroDivisionError: division by zero (mine_"),
        ("def f(:\n", {}, "failed with SyntaxError: invalid syntax (mine_"),
        ("import sys\nsys.exit(3)\n", {}, "failed with SystemExit: 3 (mine_"),
        ("class Other: ...\n", {}, "has no 'Mine')"),
        ("Mine = 3\n", {}, "it is neither a class nor a function"),
        ("class Mine: ...\n", {}, "it has no method score(pairs, queries, docs), which is what a reranker needs"),
        ("from evalkit.rerankers.base import Reranker\nclass Mine(Reranker): ...\n", {},
         "it has no method score, which its base class requires"),
        ("class Mine:\n    def search(self, data, depth): ...\n", {}, "it has no method score(pairs, queries, docs)"),
    ],
)  # fmt: skip
def test_what_cannot_be_built_is_one_sentence(module: Any, source: Any, settings: Any, message: Any) -> None:
    assert message in refusal(module, source, **settings)
