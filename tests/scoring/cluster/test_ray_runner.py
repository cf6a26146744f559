"""executor=ray: what travels, what is planned without weights, what is refused; and two workers, one of them killed.

Ray takes a minute to start and to end on two busy cores, so the last part runs on request:

    EVALKIT_RAY=1 python -m pytest tests/scoring/cluster/test_ray.py
"""

import os
import signal
from dataclasses import asdict, fields
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

import evalkit
from evalkit.errors import EvalkitError
from evalkit.rerankers.cross_encoder import CrossEncoder
from evalkit.scoring.cluster import blocks, runner
from evalkit.scoring.cluster.settings import RaySettings, check_launcher, check_protocol
from evalkit.scoring.runner import ScoredBatch
from evalkit.scoring.spec import ScorerSpec, build_planner, build_scorer, place_of, planned
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


# --- what travels -----------------------------------------------------------------------------------------------------


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
        cut=lengths % 2 == 0,
    )


@needs_arrow
@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**40), st.lists(batches_of_pairs(), min_size=1, max_size=4))
def test_a_block_comes_out_as_it_went_in(number: Any, packed: Any) -> None:
    table = blocks.block(number, packed)
    assert table.num_rows == 1
    back, unpacked = blocks.batches_of(table)
    assert back == number
    assert len(unpacked) == len(packed)
    assert all(map(same, packed, unpacked))


@needs_arrow
def test_what_was_scored_comes_back_as_it_was() -> None:
    import pyarrow as pa

    done = ScoredBatch(
        rows=np.array([7, 2**40]),
        logits=np.array([0.1, -3.5], dtype=np.float32),
        lengths=np.array([4, 9], dtype=np.int32),
        cut=np.array([False, True]),
        forward_s=0.25,
        padded_tokens=13,
        events=("it was halved", "and again"),
    )
    both = pa.concat_tables([blocks.answer(5, done), blocks.answer(6, done)])  # Ray may lay blocks together
    (first, one), (second, other) = blocks.answers(both)
    assert (first, second) == (5, 6)
    assert same(done, one)
    assert same(done, other)
    one.logits[0] = 1  # an array of its own: Ray's memory is for reading only


@needs_arrow
def test_what_a_worker_refuses_comes_back_as_its_sentence() -> None:
    with pytest.raises(EvalkitError, match=r"^on a worker: no such precision$"):
        list(blocks.answers(blocks.refusal(3, "on a worker: no such precision")))


def test_batches_go_out_in_their_order_a_few_at_a_time() -> None:
    batches: Any = iter("abcde")
    found: Any = list(blocks.grouped(batches, 2))
    assert found == [["a", "b"], ["c", "d"], ["e"]]


# --- planning without weights -----------------------------------------------------------------------------------------


def plain(settings: Any) -> Any:
    return OmegaConf.to_container(settings, resolve=True)


def spec(folder: Path, **changes: Any) -> ScorerSpec:
    return ScorerSpec(str(folder), "cpu", "fp32", 64, "longest_first", **changes)


def test_a_planner_has_no_weights_and_plans_what_the_workers_compute(bert_folder: Any) -> None:
    texts = [("what is it", "a passage " * n) for n in range(1, 40)]
    planner = build_planner(spec(bert_folder, batch_tokens=128), torch.device("cpu"))
    worker = build_scorer(planned(spec(bert_folder, batch_tokens=128), planner))
    assert {weight.device.type for weight in planner.scorer.model.parameters()} == {"meta"}
    here, there = planner.scorer.tokenize(texts), worker.scorer.tokenize(texts)
    for rows in batches(here.lengths.tolist(), planner.scorer.budget.tokens, padded=False):
        assert same(here.batch(rows), there.batch(rows))
    assert planner.scorer.budget.tokens == worker.scorer.budget.tokens == 128
    assert place_of(planner) == place_of(worker)  # as a worker looks around before it loads anything


def test_workers_may_have_different_numbers_of_cores_but_with_a_compiler(bert_folder: Any) -> None:
    """Without one a batch belongs to one core; torch's compiler splits sums among them."""
    planner = build_planner(spec(bert_folder), torch.device("cpu"))
    before, places = torch.get_num_threads(), []
    try:
        for planner.scorer.compiled in (False, True):
            for cores in (1, 2):
                torch.set_num_threads(cores)
                places.append(place_of(planner))
    finally:
        torch.set_num_threads(before)
    assert places[0] == places[1]
    assert places[2] != places[3]


def test_a_planner_needs_no_device_that_can_do_what_the_workers_do(bert_folder: Any) -> None:
    gpus = ScorerSpec(str(bert_folder), "cuda", "fp16", 64, "longest_first")
    planner = build_planner(gpus, torch.device("cpu"))
    assert next(planner.scorer.model.parameters()).dtype == torch.float16
    assert planned(gpus, planner).batch_tokens == 16384


def test_memory_that_is_free_here_does_not_decide_over_batches_elsewhere(bert_folder: Any) -> None:
    planner = build_planner(spec(bert_folder), torch.device("cpu"))
    assert planner.scorer.describe()["batch_tokens"] == 1024
    assert planner.scorer.describe()["batch_tokens_source"] == "fixed, for workers with cpu"


# --- what is refused --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "told"),
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
def test_settings_that_make_no_sense_are_refused(changes: Any, told: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("evalkit.scoring.cluster.settings.find_spec", lambda name: name)  # as if Ray were installed
    with pytest.raises(EvalkitError, match=f"^{told}"):
        RaySettings(**changes).check()


def test_without_ray_the_sentence_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("evalkit.scoring.cluster.settings.find_spec", lambda name: None)
    with pytest.raises(EvalkitError, match=r"pip install 'evalkit-rerank\[ray\]'$"):
        CPUS.check()


@pytest.mark.parametrize(
    ("settings", "there", "workers"),
    [
        (RaySettings(), {"GPU": 8, "CPU": 64}, 8),
        (RaySettings(workers=3), {"GPU": 8}, 3),
        (RaySettings(num_gpus=0.5), {"GPU": 2}, 4),
        (RaySettings(num_gpus=0, num_cpus=8), {"GPU": 8, "CPU": 20}, 2),
    ],
)
def test_there_are_as_many_workers_as_asked_for_or_as_fit(settings: Any, there: Any, workers: Any) -> None:
    assert runner._room(settings, there) == workers


@pytest.mark.parametrize(
    ("settings", "there", "told"),
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
def test_workers_for_which_there_is_no_room_are_refused(settings: Any, there: Any, told: Any) -> None:
    with pytest.raises(EvalkitError, match=told):
        runner._room(settings, there)


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("quick", "protocol.warmup_queries=1: executor=ray"),
        ("ci", "protocol.warmup_queries=1: .* use protocol=none"),
        ("standard", "protocol.warmup_queries=3: "),
    ],
)
def test_a_protocol_that_times_the_driver_is_refused(name: Any, told: Any) -> None:
    with pytest.raises(EvalkitError, match=told):
        check_protocol(plain(compose(f"protocol={name}").protocol))


def test_the_protocol_none_is_the_one_that_fits() -> None:
    protocol = plain(compose("protocol=none").protocol)
    check_protocol(protocol)
    with pytest.raises(EvalkitError, match=r"protocol.grid_depths=\[10\]"):
        check_protocol(protocol | {"grid_depths": [10]})


def test_workers_that_differ_are_refused(bert_folder: Any) -> None:
    place = place_of(build_planner(spec(bert_folder), torch.device("cpu")))
    with pytest.raises(EvalkitError, match="its device_name is B, and that of the worker asked first is "):
        runner._check_place(place, type(place)(**asdict(place) | {"device_name": "B"}))
    with pytest.raises(EvalkitError, match=r"the workers have torch 1\.0, and here is torch "):
        runner._check_software(evalkit.__version__, type(place)(**asdict(place) | {"torch": "1.0"}))


# --- the configuration ------------------------------------------------------------------------------------------------


def test_the_default_is_this_machine() -> None:
    assert compose().executor == {"name": "local"}
    assert compose().reranker.executor == {"name": "local"}


def test_the_yaml_states_the_defaults() -> None:
    cfg = compose("executor=ray")
    assert RaySettings.of(plain(cfg.reranker.executor)) == RaySettings()


def test_there_is_no_other_executor() -> None:
    with pytest.raises(EvalkitError, match="executor=dask: there is local and ray"):
        RaySettings.of({"name": "dask"})


def remote(folder: Path, **changes: Any) -> CrossEncoder:
    executor = {"name": "ray", "workers": 2, "num_gpus": 0, "num_cpus": 1, "batches_per_block": 1}
    settings: dict[str, Any] = {
        "model": str(folder), "max_length": 64, "truncation": "longest_first", "batch_tokens": 256, "device": "auto",
        "precision": "fp32", "executor": executor,
    }  # fmt: skip
    return CrossEncoder(**settings | changes)


def test_the_driver_s_own_device_has_no_say(bert_folder: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("evalkit.scoring.cluster.settings.find_spec", lambda name: name)
    remote(bert_folder, executor={"name": "ray"}, precision="fp16").check()  # whatever there is here
    with pytest.raises(EvalkitError, match=r"reranker.device=cuda:1: .* which is cpu here; use reranker.device=auto"):
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
def test_a_launcher_that_is_not_installed_is_named(name: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    target = launcher(name)._target_  # it composes all the same
    monkeypatch.setattr("evalkit.scoring.cluster.settings.find_spec", lambda name: None)
    with pytest.raises(EvalkitError, match=f"is not installed: pip install {LAUNCHERS[name][0]}$"):
        check_launcher(target)
    check_launcher("hydra._internal.core_plugins.basic_launcher.BasicLauncher")


@pytest.mark.parametrize("name", LAUNCHERS)
def test_a_launcher_has_settings_that_its_plugin_takes(name: Any) -> None:
    package, module, theirs = LAUNCHERS[name]
    own = pytest.importorskip(module, reason=f"composes; pip install {package}") and ConfigStore.instance().load(
        f"hydra/launcher/{theirs}.yaml"
    )
    ours = launcher(name)
    assert ours._target_ == own.node._target_
    assert set(ours) <= set(own.node)


# --- two workers ------------------------------------------------------------------------------------------------------


def actors() -> list[int]:
    """The process ids of this process's own workers of Ray that are at work."""
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
def test_a_killed_worker_costs_nothing_but_time(bert_folder: Any, tmp_path: Path) -> None:
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
    known = there.score_all(pairs, queries, docs)  # without a worker: all of it came into the store
    assert (known.logits, known.from_store) == (wanted.logits, 150)
    refused = remote(bert_folder, precision="tf32")
    with pytest.raises(EvalkitError, match=r"^on a worker: precision=tf32 is a mode of CUDA matrix units"):
        refused.load()
