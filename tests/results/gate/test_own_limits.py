"""A fresh baseline of any slice passes its own gate with nothing changed, by limits that are there to be seen."""

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from evalkit.boundary.errors import EvalkitError
from evalkit.results.gate import baseline, own_limits
from evalkit.results.gate.judge import judge
from evalkit.results.gate.limits import STORED, Limits
from tests.helpers.command_line import run_here, sentence
from tests.helpers.results import edited
from tests.results.gate.test_judge import COST, N, result, verdict


def shares(**counts: Any) -> Any:
    return result(scoring=counts)


ODD = {
    "texts are long": (shares(truncated_pairs=17), {}, {"max_truncated_share": 0.43}),  # 42.5 % of 40
    "scores are tied": (shares(tied_pairs=9), {}, {"max_tied_share": 0.23}),
    "reranking makes it worse": (result(first=(0.6,) * N), {}, {"max_below_first_stage": 0.12}),  # and the tolerance
    "the model cannot read it": (
        shares(unknown_query_share=0.05, unknown_passage_share=0.391), {}, {"max_unknown_share": 0.4}
    ),
    "the model is slow": (result(cost=COST), {"max_scoring_ratio": 9.0}, {"max_scoring_ratio": 20.0}),
    "the model is large and slow": (
        result(cost=COST), {"max_latency_ratio": 1.0, "max_memory_ratio": 3.0},
        {"max_latency_ratio": 3.0, "max_memory_ratio": 8.0},
    ),
    "nothing is reordered": (shares(queries_reordered=0), {}, {"skip": ["order_changed"]}),
    "two at once": (
        result(first=(0.6,) * N, scoring={"truncated_pairs": 40}), {},
        {"max_below_first_stage": 0.12, "max_truncated_share": 1.0},
    ),
}  # fmt: skip


@pytest.mark.parametrize(("odd", "limits", "expected"), ODD.values(), ids=ODD)
def test_what_a_slice_needs_is_found_and_with_it_nothing_that_did_not_change_fails(
    odd: Any, limits: Any, expected: Any, tmp_path: Path
) -> None:
    asked = Limits(**limits)
    new = baseline.of(odd)
    failing = own_limits.failing(new, odd, asked)
    needed = own_limits.needed(new, odd, asked, failing)
    assert needed == expected
    baseline.write(replace(new, limits=needed), tmp_path / "own.json")
    read = baseline.read(tmp_path / "own.json")
    assert read.limits == needed
    in_force, own = own_limits.merged(asked, read.limits, (), limits)
    assert own == needed
    assert not judge(new, odd, asked).holds or "unknown" in str(expected)
    assert judge(read, odd, in_force).holds


def test_a_result_that_passes_needs_none_and_its_file_has_none(tmp_path: Path) -> None:
    good = result(cost=COST)
    assert own_limits.failing(baseline.of(good), good, Limits(max_scoring_ratio=12.0)) == ()
    assert '"limits"' not in baseline.dump(baseline.of(good))
    assert '"unknown"' not in baseline.dump(baseline.of(good))


def test_a_budget_without_a_figure_in_the_result_does_not_fail() -> None:
    assert own_limits.failing(baseline.of(result()), result(), Limits(max_latency_ratio=3.0)) == ()


@pytest.mark.parametrize(("limit", "wider"), [(None, {}), (9.0, {}), (10.0, {"max_scoring_ratio": 20.0}),
                                              (14.9, {"max_scoring_ratio": 20.0}), (15.0, {})])  # fmt: skip
def test_a_ratio_that_passes_with_little_room_is_named_with_a_wider_limit(limit: Any, wider: Any) -> None:
    # The figure is 10: at 9 it fails, from 15 on there is room of half of it.
    assert own_limits.tight(result(cost=COST), Limits(max_scoring_ratio=limit)) == wider
    assert own_limits.tight(result(), Limits(max_scoring_ratio=limit)) == {}


PACKAGED = {"max_scoring_ratio": 12.0}


@pytest.mark.parametrize(
    ("asked", "given", "in_force"),
    [
        (Limits(), (), 0.44),
        (Limits(), ("max_truncated_share",), 0.1),  # given on the command line, though it is the default
        (Limits(max_truncated_share=0.2), (), 0.2),  # set in a file of the user's
        (Limits(max_truncated_share=0.2), ("max_truncated_share",), 0.2),
        (Limits(max_truncated_share=None), (), None),
    ],
)
def test_a_limit_of_the_baseline_holds_where_the_user_sets_no_other(asked: Any, given: Any, in_force: Any) -> None:
    limits, own = own_limits.merged(asked, {"max_truncated_share": 0.44}, given, PACKAGED)
    assert limits.max_truncated_share == in_force
    assert own == ({"max_truncated_share": 0.44} if in_force == 0.44 else {})


def test_a_budget_of_the_baseline_goes_before_that_of_the_packaged_experiment_only() -> None:
    stored = {"max_scoring_ratio": 20.0}
    for packaged in (None, 12.0):
        assert own_limits.merged(Limits(max_scoring_ratio=packaged), stored, (), PACKAGED)[0].max_scoring_ratio == 20.0
    assert own_limits.merged(Limits(max_scoring_ratio=15.0), stored, (), PACKAGED)[0].max_scoring_ratio == 15.0


def test_checks_that_the_baseline_skips_are_skipped_as_well_as_those_of_the_user() -> None:
    limits, own = own_limits.merged(Limits(skip=["unjudged"]), {"skip": ["order_changed"]}, (), {})
    assert limits.skip == ["unjudged", "order_changed"]
    assert own_limits.merged(Limits(skip=[]), {"skip": ["order_changed"]}, ("skip",), {})[0].skip == []
    named = own_limits.named(verdict(result(), skip=limits.skip), own, Limits(skip=["unjudged"]))
    assert named.own_limits == ("skip order_changed",)


def test_a_worse_result_still_fails_by_the_limits_of_the_baseline_and_they_are_named() -> None:
    new = replace(baseline.of(shares(truncated_pairs=17)), limits={"max_truncated_share": 0.43})
    limits, own = own_limits.merged(Limits(), new.limits, (), {})
    judged = own_limits.named(judge(new, shares(truncated_pairs=18), limits), own, Limits())
    (check,) = judged.failed
    assert check.message == (
        "45.0% of the pairs were cut to 128 tokens; more than max_truncated_share 0.43 [max_truncated_share 0.43 is "
        "the baseline's own limit]"
    )
    assert judged.own_limits == ("max_truncated_share 0.43 (else 0.1)",)


def test_settings_are_written_as_the_command_line_takes_them() -> None:
    settings = {"max_truncated_share": 0.43, "max_tied_share": None, "skip": ["unjudged", "order_changed"]}
    arguments = "gate.max_truncated_share=0.43 gate.max_tied_share=null 'gate.skip=[unjudged,order_changed]'"
    assert own_limits.as_arguments(settings) == arguments


def test_every_limit_that_can_be_stored_is_one_of_the_limits() -> None:
    assert all(hasattr(Limits(), name) for name in STORED)


@pytest.mark.parametrize("limits", [{"max_tied_share": -1.0}, {"max_tied_share": "much"}, {"skip": ["logits_finite"]},
                                    {"skip": ["nothing"]}, {"skip": "unjudged"}, [1]])  # fmt: skip
def test_a_baseline_whose_limits_make_no_sense_is_no_baseline(limits: Any, tmp_path: Path) -> None:
    from tests.product.test_hostile_readers import signed

    path = tmp_path / "ci.json"
    content = json.loads(baseline.dump(baseline.of(result())))
    path.write_bytes(signed(content | {"limits": limits}))
    with pytest.raises(EvalkitError, match="is no whole baseline"):
        baseline.read(path)


SENSELESS: list[Any] = [None, [], {"skip": "truncated"}, {"skip": [3]}, {"max_tied_share": "x"},
                        {"max_tied_share": {"a": 1}}, {"max_tied_share": -1}, {"max_tied_share": True}]  # fmt: skip


@pytest.mark.parametrize("gate", SENSELESS)
def test_limits_recorded_in_a_result_are_used_only_where_they_are_valid(gate: Any) -> None:
    odd = result()
    odd = edited(odd, lambda plain: plain.update(asked={"gate": gate}))
    assert {k: v for k, v in own_limits.recorded(odd).items() if v != []} == {}
    known = {"max_tied_share": 0.3, "skip": ["unjudged"], "baseline": "x", "old_key": 1}
    odd = edited(odd, lambda plain: plain.update(asked={"gate": known}))
    assert own_limits.recorded(odd) == {"max_tied_share": 0.3, "skip": ["unjudged"]}


# --- the command


@pytest.fixture(scope="module")
def place(bert_folder: Any, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A folder with the result `out` of a model with random weights, which cuts its passages and ranks badly."""
    where = tmp_path_factory.mktemp("own_limits")
    done = run_here("slice.queries=6", "depth=5", "device=cpu", "protocol=none", f"reranker.model={bert_folder}",
                       "reranker.max_length=16", "out_dir=out", cwd=where)  # fmt: skip
    assert done.returncode == 0, done.stderr
    return where


def test_a_result_that_fails_its_own_gate_is_refused_with_the_settings_that_it_needs(place: Any) -> None:
    done = run_here("baseline", "out", "--output", "refused.json", cwd=place)
    assert done.returncode == 2
    assert not (place / "refused.json").exists()
    error = sentence(done.stderr)
    assert "out fails its own gate with nothing changed, and was not written (" in error
    assert re.search(
        r"truncated: \d+\.\d% of the pairs were cut to 16 tokens; more than max_truncated_share 0\.1", error
    )
    assert "--accept-limits writes the limits that it needs into the baseline" in error
    settings = re.findall(r"gate\.\w+=[\w.\[\],]+", error.split("these settings: ")[1])
    assert any(setting.startswith("gate.max_truncated_share=") for setting in settings)
    # The settings that it names are the ones: with them both commands do without limits in the file.
    written = run_here("baseline", "out", "--output", "plain.json", *settings, cwd=place)
    assert written.returncode == 0, written.stderr
    assert "limits" not in json.loads((place / "plain.json").read_text())
    assert run_here("gate", "out", "--baseline", "plain.json", cwd=place).returncode == 1
    assert run_here("gate", "out", "--baseline", "plain.json", *settings, cwd=place).returncode == 0


def test_limits_that_are_accepted_are_in_the_file_and_in_the_verdict_and_the_gate_holds(place: Any) -> None:
    done = run_here("baseline", "out", "--output", "own.json", "--accept-limits", cwd=place)
    assert done.returncode == 0, done.stderr
    assert "limits stored in the baseline, which hold where a gate sets no others: gate.max_" in done.stderr
    stored = json.loads((place / "own.json").read_text())["limits"]
    assert 0.1 < stored["max_truncated_share"] <= 1
    held = run_here("gate", "out", "--baseline", "own.json", "--junit", "own.xml", cwd=place)
    assert held.returncode == 0, held.stdout
    share = f"max_truncated_share {stored['max_truncated_share']:g}"
    assert f"{share} (else 0.1)" in held.stdout.split("limits of the baseline's own: ")[1].split("\n")[0]
    assert f"[{share} is the baseline's own limit]" in (place / "own.xml").read_text()
    strict = run_here("gate", "out", "--baseline", "own.json", "gate.max_truncated_share=0.1", cwd=place)
    assert strict.returncode == 1
    assert "more than max_truncated_share 0.1\n" in strict.stdout


def test_the_experiment_reads_the_limits_of_the_baseline_too(place: Any, bert_folder: Any) -> None:
    assert run_here("baseline", "out", "--output", "its.json", "--accept-limits", cwd=place).returncode == 0
    trial = ("experiment=ci", "protocol=none", "slice.queries=6", "depth=5", "device=cpu",
             f"reranker.model={bert_folder}", "reranker.max_length=16", "gate.baseline=its.json",
             "gate.max_latency_ratio=null", "gate.max_scoring_ratio=null", "gate.max_memory_ratio=null")  # fmt: skip
    held = run_here(*trial, "out_dir=again", cwd=place)
    assert held.returncode == 0, held.stdout + held.stderr
    assert "limits of the baseline's own: " in held.stdout
    strict = run_here("gate", "again", "--baseline", "its.json", "gate.max_truncated_share=0.1", cwd=place)
    assert strict.returncode == 1
    assert "FAILED truncated: " in strict.stdout
