"""executor=ray: block format, planning without weights, invalid settings, and a run in which a worker is killed.

Ray takes a minute to start and to end on two busy cores, so the last part runs on request:

    EVALKIT_RAY=1 python -m pytest tests/scoring/cluster/test_ray_runner.py
"""

import os
import signal
from dataclasses import fields, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hydra.core.config_store import ConfigStore
from hypothesis import given, settings
from hypothesis import strategies as st
from omegaconf import OmegaConf

from evalkit import __version__
from evalkit.boundary.errors import EvalkitError
from evalkit.rerankers.cross_encoder import CrossEncoder
from evalkit.scoring.batching import plan_batches
from evalkit.scoring.cluster import block_format, worker
from evalkit.scoring.cluster.ray_session import count_workers
from evalkit.scoring.cluster.settings import RaySettings, check_launcher, check_protocol
from evalkit.scoring.planner import build_planner, environment_of, with_planned_budget
from evalkit.scoring.runner import ScoredBatch
from evalkit.scoring.spec import ScorerSpec, build_scorer
from evalkit.scoring.tokenized_pairs import Batch
from evalkit.types import Pair
from tests.conftest import compose

needs_arrow = pytest.mark.skipif(
    find_spec("pyarrow") is None, reason="pyarrow comes with the extra: evalkit-rerank[ray]"
)
CPUS = RaySettings(num_gpus=0, num_cpus=1)


def same(one: Any, other: Any) -> bool:
    """Whether two batches, or two scored ones, hold the same values of the same types."""
    pairs = [(getattr(one, field.name), getattr(other, field.name)) for field in fields(one)]
    return all(
        np.array_equal(a, b) and a.dtype == b.dtype if isinstance(a, np.ndarray) else a == b for a, b in pairs
    )  # fmt: skip


# --- the format of blocks ---------------------------------------------------------------------------------------------


@st.composite
def batches_of_pairs(draw: Any) -> Batch:
    lengths = np.array(draw(st.lists(st.integers(1, 5), min_size=1, max_size=4)), dtype=np.int32)
    tokens = int(lengths.sum())
    ids = draw(st.lists(st.integers(0, 250_001), min_size=tokens, max_size=tokens))
    return Batch(
        rows=np.array(draw(st.lists(st.integers(0, 2**40), min_size=len(lengths), max_size=len(lengths)))),
        ids=np.array(ids, dtype=np.int32),
        type_ids=np.array(ids, dtype=np.int32) % 2,
        lengths=lengths,
        truncated=lengths % 2 == 0,
    )


@needs_arrow
@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**40), st.lists(batches_of_pairs(), min_size=1, max_size=4))
def test_a_block_is_decoded_to_its_batches(number: Any, packed: Any) -> None:
    table = block_format.encode_block(number, packed)
    assert table.num_rows == 1
    back, unpacked = block_format.decode_block(table)
    assert back == number
    assert len(unpacked) == len(packed)
    assert all(map(same, packed, unpacked))


@needs_arrow
def test_scores_are_decoded_unchanged_and_writable() -> None:
    import pyarrow as pa

    done = ScoredBatch(
        rows=np.array([7, 2**40]),
        logits=np.array([0.1, -3.5], dtype=np.float32),
        lengths=np.array([4, 9], dtype=np.int32),
        truncated=np.array([False, True]),
        forward_s=0.25,
        padded_tokens=13,
        events=("it was halved", "and again"),
    )
    both = pa.concat_tables(
        [block_format.encode_scores(5, done), block_format.encode_scores(6, done)]
    )  # Ray may concatenate blocks
    (first, one), (second, other) = block_format.decode_scores(both)
    assert (first, second) == (5, 6)
    assert same(done, one)
    assert same(done, other)
    one.logits[0] = 1  # a copy, since Ray's memory is read-only


@needs_arrow
def test_the_error_of_a_worker_is_raised_with_its_message() -> None:
    with pytest.raises(EvalkitError, match=r"^on a worker: no such precision$"):
        list(block_format.decode_scores(block_format.encode_error(3, "on a worker: no such precision")))


def test_batches_are_grouped_in_order() -> None:
    batches: Any = iter("abcde")
    found: list[Any] = list(block_format.group_batches(batches, 2))
    assert found == [["a", "b"], ["c", "d"], ["e"]]


# --- planning without weights -----------------------------------------------------------------------------------------


def plain(settings: Any) -> Any:
    return OmegaConf.to_container(settings, resolve=True)


def spec(folder: Path, **changes: Any) -> ScorerSpec:
    return ScorerSpec(str(folder), "cpu", "fp32", 64, "longest_first", **changes)


def test_a_planner_without_weights_plans_the_batches_of_the_workers(bert_folder: Any) -> None:
    texts = [("what is it", "a passage " * n) for n in range(1, 40)]
    planner = build_planner(spec(bert_folder, batch_tokens=128), torch.device("cpu"))
    worker = build_scorer(with_planned_budget(spec(bert_folder, batch_tokens=128), planner))
    assert {weight.device.type for weight in planner.scorer.model.parameters()} == {"meta"}
    here, remote = planner.scorer.tokenize(texts), worker.scorer.tokenize(texts)
    for rows in plan_batches(here.lengths.tolist(), planner.scorer.budget.tokens, padded=False):
        assert same(here.batch(rows), remote.batch(rows))
    assert planner.scorer.budget.tokens == worker.scorer.budget.tokens == 128
    assert environment_of(planner) == environment_of(worker)  # a worker is probed without loading weights


def test_workers_may_differ_in_their_number_of_cores_unless_the_model_is_compiled(bert_folder: Any) -> None:
    """Without compilation one core computes a batch; compiled code splits sums among all cores."""
    planner = build_planner(spec(bert_folder), torch.device("cpu"))
    before, environments = torch.get_num_threads(), []
    try:
        for planner.scorer.compiled in (False, True):
            for cores in (1, 2):
                torch.set_num_threads(cores)
                environments.append(environment_of(planner))
    finally:
        torch.set_num_threads(before)
    assert environments[0] == environments[1]
    assert environments[2] != environments[3]


def test_a_planner_does_not_need_the_device_of_the_workers(bert_folder: Any) -> None:
    gpus = ScorerSpec(str(bert_folder), "cuda", "fp16", 64, "longest_first")
    planner = build_planner(gpus, torch.device("cpu"))
    assert next(planner.scorer.model.parameters()).dtype == torch.float16
    assert with_planned_budget(gpus, planner).batch_tokens == 16384


def test_the_budget_of_a_planner_does_not_depend_on_free_memory(bert_folder: Any) -> None:
    planner = build_planner(spec(bert_folder), torch.device("cpu"))
    assert planner.scorer.describe()["batch_tokens"] == 1024
    assert planner.scorer.describe()["batch_tokens_source"] == "fixed, for workers with cpu"


# --- invalid settings -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"num_cpus": 2}, "executor.num_gpus=1 executor.num_cpus=2: a worker computes on one of them"),
        ({"num_gpus": 0}, "executor.num_gpus=0 executor.num_cpus=0: a worker computes on one of them"),
        ({"num_gpus": -1, "num_cpus": 1}, "executor.num_gpus=-1 "),
        ({"workers": 0}, "executor.workers=0: give a number of 1 or more"),
        ({"batches_per_block": 0}, "executor.batches_per_block=0: give a number of 1 or more"),
        ({"retries": -1}, "executor.retries=-1: give a number of 0 or more"),
        ({"timeout_s": 0}, "executor.timeout_s=0: give a number of seconds above 0"),
    ],
)
def test_invalid_settings_are_refused(changes: Any, message: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("evalkit.scoring.cluster.settings.find_spec", lambda name: name)  # as if Ray were installed
    with pytest.raises(EvalkitError, match=f"^{message}"):
        RaySettings(**changes).check()


def test_without_ray_the_message_names_the_extra_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("evalkit.scoring.cluster.settings.find_spec", lambda name: None)
    with pytest.raises(EvalkitError, match=r"pip install 'evalkit-rerank\[ray\]'$"):
        CPUS.check()


@pytest.mark.parametrize(
    ("settings", "resources", "workers"),
    [
        (RaySettings(), {"GPU": 8, "CPU": 64}, 8),
        (RaySettings(workers=3), {"GPU": 8}, 3),
        (RaySettings(num_gpus=0.5), {"GPU": 2}, 4),
        (RaySettings(num_gpus=0, num_cpus=8), {"GPU": 8, "CPU": 20}, 2),
    ],
)
def test_the_number_of_workers_is_the_configured_one_or_as_many_as_fit(
    settings: Any, resources: Any, workers: Any
) -> None:
    assert count_workers(settings, resources) == workers


@pytest.mark.parametrize(
    ("settings", "resources", "message"),
    [
        (
            RaySettings(),
            {"CPU": 8},
            "executor.workers=1 with 1 GPUs each do not fit: .* 0; use executor.num_gpus=0",
        ),
        (RaySettings(workers=9), {"GPU": 8}, "executor.workers=9 .* has 8; lower executor.workers to 8, or add nodes"),
        (RaySettings(num_gpus=0, num_cpus=8), {"CPU": 2}, "with 8 CPUs each .* has 2; lower executor.num_cpus"),
    ],
)
def test_more_workers_than_fit_are_refused(settings: Any, resources: Any, message: Any) -> None:
    with pytest.raises(EvalkitError, match=message):
        count_workers(settings, resources)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("quick", "protocol.warmup_queries=1: executor=ray"),
        ("ci", "protocol.warmup_queries=1: .* use protocol=none"),
        ("standard", "protocol.warmup_queries=3: "),
    ],
)
def test_a_protocol_that_measures_the_driver_is_refused(name: Any, message: Any) -> None:
    with pytest.raises(EvalkitError, match=message):
        check_protocol(plain(compose(f"protocol={name}").protocol))


def test_protocol_none_is_accepted() -> None:
    protocol = plain(compose("protocol=none").protocol)
    check_protocol(protocol)
    with pytest.raises(EvalkitError, match=r"protocol.grid_depths=\[10\]"):
        check_protocol(protocol | {"grid_depths": [10]})


def test_workers_with_different_environments_are_refused(bert_folder: Any) -> None:
    environment = environment_of(build_planner(spec(bert_folder), torch.device("cpu")))
    with pytest.raises(EvalkitError, match="its device_name is B, and that of the worker asked first is "):
        worker.check_environment(environment, replace(environment, device_name="B"))
    with pytest.raises(EvalkitError, match=r"the workers have torch 1\.0, and here is torch "):
        worker.check_versions(__version__, replace(environment, torch="1.0"))


# --- the configuration ------------------------------------------------------------------------------------------------


def test_the_default_executor_is_local() -> None:
    assert compose().executor == {"name": "local"}
    assert compose().reranker.executor == {"name": "local"}


def test_the_yaml_has_the_default_settings() -> None:
    cfg = compose("executor=ray")
    assert RaySettings.of(plain(cfg.reranker.executor)) == RaySettings()


def test_an_unknown_executor_is_refused() -> None:
    with pytest.raises(EvalkitError, match="executor=dask: there is local and ray"):
        RaySettings.of({"name": "dask"})


def remote(folder: Path, **changes: Any) -> CrossEncoder:
    executor = {"name": "ray", "workers": 2, "num_gpus": 0, "num_cpus": 1, "batches_per_block": 1}
    settings: dict[str, Any] = {
        "model": str(folder), "max_length": 64, "truncation": "longest_first", "batch_tokens": 256, "device": "auto",
        "precision": "fp32", "executor": executor,
    }  # fmt: skip
    return CrossEncoder(**settings | changes)


def test_the_device_of_the_driver_does_not_matter(bert_folder: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("evalkit.scoring.cluster.settings.find_spec", lambda name: name)
    remote(bert_folder, executor={"name": "ray"}, precision="fp16").check()  # whatever this machine has
    with pytest.raises(EvalkitError, match=r"reranker.device=cuda:1: .* here cpu; use reranker.device=auto"):
        remote(bert_folder, device="cuda:1").check()
    with pytest.raises(EvalkitError, match="precision=fp17: no such precision"):
        remote(bert_folder, precision="fp17").check()
    with pytest.raises(EvalkitError, match=r"cuda_graphs=true speeds up single queries, which"):
        remote(bert_folder, cuda_graphs=True).check()


LAUNCHERS = {
    "slurm": ("hydra-submitit-launcher", "hydra_plugins.hydra_submitit_launcher.config", "submitit_slurm"),
    "ray_tasks": ("hydra-ray-launcher", "hydra_plugins.hydra_ray_launcher._config", "ray"),
}
"""Our file -> the package of its plugin, and the module and the name of the plugin's own settings."""


def launcher(name: str) -> Any:
    from hydra.core.hydra_config import HydraConfig

    compose(f"hydra/launcher={name}", "hydra.job.num=0")
    return HydraConfig.get().launcher


@pytest.mark.parametrize("name", LAUNCHERS)
def test_a_launcher_that_is_not_installed_is_refused_with_its_package(
    name: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = launcher(name)._target_  # it can be composed without the plugin
    monkeypatch.setattr("evalkit.scoring.cluster.settings.find_spec", lambda name: None)
    with pytest.raises(EvalkitError, match=f"is not installed: pip install {LAUNCHERS[name][0]}$"):
        check_launcher(target)
    check_launcher("hydra._internal.core_plugins.basic_launcher.BasicLauncher")


@pytest.mark.parametrize("name", LAUNCHERS)
def test_the_settings_of_a_launcher_exist_in_its_plugin(name: Any) -> None:
    package, module, theirs = LAUNCHERS[name]
    own = pytest.importorskip(module, reason=f"composes; pip install {package}") and ConfigStore.instance().load(
        f"hydra/launcher/{theirs}.yaml"
    )
    ours = launcher(name)
    assert ours._target_ == own.node._target_
    assert set(ours) <= set(own.node)


# --- a run with two workers -------------------------------------------------------------------------------------------


def actors() -> list[int]:
    """Return the process ids of the Ray workers that this process has started."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            name, pid = (folder / "cmdline").read_bytes(), int(folder.name)
            while name.startswith(b"ray::MapWorker") and pid not in (0, 1, os.getpid()):
                pid = int((Path("/proc") / str(pid) / "stat").read_text().rpartition(")")[2].split()[1])
        except OSError:
            continue  # it has ended meanwhile
        if name.startswith(b"ray::MapWorker") and pid == os.getpid():
            found.append(int(folder.name))
    return found


@pytest.mark.slow
@pytest.mark.skipif(not os.environ.get("EVALKIT_RAY"), reason="takes a minute and more: EVALKIT_RAY=1 runs it")
@pytest.mark.filterwarnings("ignore")  # Ray's and pyarrow's own
def test_the_scores_are_the_same_bits_if_a_worker_is_killed(bert_folder: Any, tmp_path: Path) -> None:
    pytest.importorskip("ray", reason="pip install 'evalkit-rerank[ray]'")
    pairs = [Pair(f"q{n % 7}", f"d{n}") for n in range(150)]
    queries = {f"q{n}": f"what is number {n}" for n in range(7)}
    docs = {f"d{n}": f"passage number {n} " * (1 + n % 12) for n in range(150)}
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # as the workers have
    try:
        here = remote(bert_folder, executor=None)
        here.load()
        wanted = here.score(pairs, queries, docs)
    finally:
        torch.set_num_threads(threads)
    there = remote(bert_folder, store=str(tmp_path / "store.sqlite"))
    killed: list[Any] = []

    def kill_one(n: int) -> None:
        if n and not killed and (workers := actors()):
            os.kill(workers[0], signal.SIGKILL)
            killed.append(workers[0])

    there.check()
    there.load()
    got = there.score_all(pairs, queries, docs, kill_one)
    assert killed
    assert got.logits == wanted.logits  # to the bit
    assert (got.computed_pairs, got.tokens) == (150, wanted.tokens)
    assert there.describe()["devices"] == 2
    assert actors() == []
    known = there.score_all(pairs, queries, docs)  # no worker is started: all scores are in the store
    assert (known.logits, known.from_store) == (wanted.logits, 150)
    refused = remote(bert_folder, precision="tf32")
    with pytest.raises(EvalkitError, match=r"^on a worker: precision=tf32 is a mode of CUDA matrix units"):
        refused.load()
