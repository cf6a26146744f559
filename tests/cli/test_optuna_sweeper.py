"""Optuna's sweeper: what it may be given, what a trial returns to it, and a sweep where the plugin is installed."""

import json
from pathlib import Path
from typing import Any

import pytest
from hydra.errors import MissingConfigException

from evalkit.boundary.errors import EvalkitError
from evalkit.cli import hydra_allowed, optuna_sweeper
from evalkit.cli.messages import sentence
from tests.helpers.command_line import run_evalkit

EXAMPLE = Path(__file__).parents[2] / "reports" / "examples" / "dev"

WORKS: dict[str, Any] = {
    "_target_": optuna_sweeper.TARGET, "direction": "maximize", "n_trials": 4, "n_jobs": 1, "storage": None,
    "custom_search_space": None, "search_space": None, "params": {"depth": "range(5,21,5)"},
    "sampler": {"_target_": "optuna.samplers.TPESampler", "seed": 1, "multivariate": False},
}  # fmt: skip


PACKAGED: dict[str, Any] = {
    "callbacks": {},
    "sweeper": {"_target_": "hydra._internal.core_plugins.basic_sweeper.BasicSweeper"},
    "launcher": {"_target_": "hydra._internal.core_plugins.basic_launcher.BasicLauncher"},
}


def check_sweeper(settings: Any) -> None:
    """Check the part ``hydra`` with this sweeper, and nothing else changed."""
    hydra_allowed.check(PACKAGED | {"sweeper": settings}, PACKAGED, lambda name: PACKAGED["launcher"], frozenset())


def test_numbers_of_a_known_sampler_are_allowed() -> None:
    check_sweeper(WORKS)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"custom_search_space": "os.system"}, "hydra.sweeper.custom_search_space='os.system': with Optuna's sweeper"),
        ({"storage": "sqlite:////etc/study.db"}, "the study is held in memory"),
        (
            {"sampler": {"_target_": "optuna.samplers.GridSampler"}},
            "choose hydra/sweeper/sampler=tpe, random or nsgaii",
        ),
        (
            {"sampler": {"_target_": "optuna.samplers.TPESampler", "gamma": "os.system"}},
            "sampler.gamma='os.system': give",
        ),
        ({"direction": "minimize"}, "trials return their first measure, which is to be large; add"),
        ({"direction": ["minimize", "maximize"]}, "hydra.sweeper.direction=minimize,maximize"),
        ({"params": {"hydra.run.dir": "a,b"}}, "a sweep is over evalkit's settings"),
    ],
)
def test_what_runs_code_writes_elsewhere_or_optimises_the_wrong_way_is_refused(settings: Any, words: str) -> None:
    with pytest.raises(EvalkitError) as caught:
        check_sweeper(WORKS | settings)
    assert words in str(caught.value)


def test_without_the_plugin_the_message_names_the_extra() -> None:
    error = MissingConfigException("not found", "hydra/sweeper/optuna", ["basic"])
    assert sentence(error) == "hydra/sweeper=optuna comes with an extra: pip install 'evalkit-rerank[optuna]'"


def test_a_trial_returns_its_first_measure_and_the_median_time(tmp_path: Path) -> None:
    result = json.loads((EXAMPLE / "result.json").read_text("utf-8"))
    value, p50_ms = result["effectiveness"]["reranked"]["mean"]["nDCG@10"], result["cost"]["latency"]["p50_ms"]
    assert optuna_sweeper.objective(EXAMPLE, ("maximize",)) == value
    assert optuna_sweeper.objective(EXAMPLE, ("maximize", "minimize")) == (value, p50_ms)
    result["cost"]["latency"] = None
    blend = {"method": "min_max", "measure": "nDCG@10", "points": [], "weight": 0.5, "given": True}
    result["blend"] = {**blend, "mean": {"nDCG@10": 0.75}}
    (tmp_path / "result.json").write_text(json.dumps(result), "utf-8")
    assert optuna_sweeper.objective(tmp_path, ("maximize",)) == 0.75  # the weight was set: the blend is the system
    with pytest.raises(EvalkitError, match="no time of a query was measured"):
        optuna_sweeper.objective(tmp_path, ("maximize", "minimize"))


def test_a_sweep_is_optimised_by_optuna_and_reported(tmp_path: Path) -> None:
    pytest.importorskip("hydra_plugins.hydra_optuna_sweeper", reason="the extra optuna brings the sweeper")
    ended = run_evalkit(
        "--multirun", "hydra/sweeper=optuna", "hydra.sweeper.n_trials=3", "hydra.sweeper.direction=[maximize,minimize]",
        "hydra.sweeper.sampler.seed=1", "depth=range(2,6,1)", "slice.queries=4", "store=off", "out_dir=sweep",
        cwd=tmp_path,
    )  # fmt: skip
    assert ended.returncode == 0, ended.stderr
    sweep = json.loads((tmp_path / "sweep" / "sweep.json").read_text("utf-8"))
    assert len(sweep) == 3
    best = (tmp_path / "sweep" / "optimization_results.yaml").read_text("utf-8")
    assert "solutions:" in best


def test_a_sweep_whose_trials_all_fail_ends_with_its_report_and_no_traceback(tmp_path: Path) -> None:
    pytest.importorskip("hydra_plugins.hydra_optuna_sweeper", reason="the extra optuna brings the sweeper")
    ended = run_evalkit(
        "--multirun", "hydra/sweeper=optuna", "hydra.sweeper.n_trials=2", "hydra.sweeper.direction=maximize",
        "depth=range(2,6,1)", "reranker=cross_encoder", "reranker.model=./nowhere", "store=off", "out_dir=sweep",
        cwd=tmp_path,
    )  # fmt: skip
    assert ended.returncode == 1
    assert "Traceback" not in ended.stderr
    assert "there is no such folder" in ended.stderr
