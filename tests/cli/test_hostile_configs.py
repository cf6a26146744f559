"""A configuration that somebody else wrote runs no code, writes nowhere else, reads no secret."""

import json
import os
import sys
import time
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from hydra.core.global_hydra import GlobalHydra

from evalkit.boundary.errors import EvalkitError
from evalkit.cli import app, hydra_limits, process
from evalkit.cli.process import in_fresh_process
from tests.helpers.command_line import run_here, sentence

Refused = Callable[..., str]
Stranger = Callable[..., list[str]]


@pytest.fixture
def refused(tmp_path: Path) -> Refused:
    """Run the command line up to its error; return the sentence, and see that no file was written."""
    where = tmp_path / "cwd"
    where.mkdir()

    def run(*arguments: str) -> str:
        before = {path for path in tmp_path.rglob("*") if path.is_file()}
        done = run_here(*arguments, cwd=where)
        assert done.returncode == 2, done.stderr
        assert {path for path in tmp_path.rglob("*") if path.is_file()} == before
        return sentence(done.stderr)

    return run


@pytest.fixture
def stranger(tmp_path: Path) -> Stranger:
    """Write a file of a configuration, an experiment unless it is named, and return the arguments that use it."""

    def write(text: str, name: str = "experiment/theirs.yaml") -> list[str]:
        path = tmp_path / "theirs" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, "utf-8")
        chosen = "/".join(path.relative_to(tmp_path / "theirs").parts[:-1])
        return ["--config-dir", str(tmp_path / "theirs"), f"{chosen}={path.stem}"]

    return write


# --- Hydra's own settings ---------------------------------------------------------------------------------------------

SLURM = "hydra_plugins.hydra_submitit_launcher.submitit_launcher.SlurmLauncher"
HYDRA = {
    "env_set": ("job: {env_set: {LD_PRELOAD: /x.so}}", "hydra.job.env_set.LD_PRELOAD: "),
    "env_set of another name": ("job: {env_set: {anything: at all}}", "hydra.job.env_set.anything: "),
    "env_copy": ("job: {env_copy: [HOME]}", "hydra.job.env_copy=a list"),
    "env_copy of what is not there": ("job: {env_copy: [NOT_THERE_AT_ALL]}", "hydra.job.env_copy="),
    "chdir": ("job: {chdir: true}", "hydra.job.chdir=True"),
    "the name of a job": ('job: {name: "x\\n#SBATCH"}', "hydra.job.name="),
    "a log": ("job_logging: {handlers: {f: {class: logging.FileHandler, filename: /tmp/x}}}", "hydra.job_logging."),
    "Hydra's log": ("hydra_logging: {root: {level: DEBUG, handlers: [console]}}", "hydra.hydra_logging.root"),
    "run.dir": ("run: {dir: /tmp/x}", "hydra.run.dir='/tmp/x'"),
    "sweep.dir": ("sweep: {dir: /tmp/x}", "hydra.sweep.dir='/tmp/x'"),
    "output_subdir": ("output_subdir: ../x", "hydra.output_subdir='../x'"),
    "a callback": ("callbacks: {x: {_target_: hydra.experimental.callbacks.X}}", "hydra.callbacks.x"),
    "our callback again": ("callbacks: {x: {_target_: evalkit.cli.sweep.SweepReport}}", "hydra.callbacks.x=a mapping"),
    "our callback, more to it": ("callbacks: {sweep_report: {_recursive_: true}}", "hydra.callbacks.sweep_report"),
    "our callback, no truth value": ("callbacks: {sweep_report: {blended: [1]}}", "hydra.callbacks.sweep_report"),
    "another sweeper": ("sweeper: {_target_: hydra_plugins.x.y.Z}", "hydra.sweeper._target_='hydra_plugins.x.y.Z'"),
    "more of a sweeper": ("sweeper: {study_name: x}", "Key 'study_name' not in"),
    "a sweep over Hydra": ("sweeper: {params: {+hydra.job.env_set.X: y}}", "hydra.sweeper.params.+hydra.job.env_set.X"),
    "a sweep over launchers": ("sweeper: {params: {hydra/launcher: slurm}}", "hydra.sweeper.params.hydra/launcher"),
    "a sweep of mappings": ("sweeper: {params: {slice: {lang: x}}}", "hydra.sweeper.params.slice=a mapping"),
    "another launcher": ("launcher: {_target_: hydra_plugins.x.y.Z}", "hydra.launcher._target_="),
    "help": ("help: {template: '${oc.env:HOME}'}", "hydra.help.template="),
    "verbose": ("verbose: true", "hydra.verbose=True"),
    "overrides": ("overrides: {task: [depth=1]}", "hydra.overrides: "),
    "the folder of a run": ("runtime: {output_dir: /tmp/x}", "hydra.runtime.output_dir='/tmp/x'"),
    "subdir above": ("mode: MULTIRUN\n  sweep: {subdir: ../../x}", "hydra.sweep.subdir='../../x'"),
    "subdir elsewhere": ("mode: MULTIRUN\n  sweep: {subdir: /tmp/x}", "hydra.sweep.subdir='/tmp/x'"),
    "subdir above, hidden": (
        "mode: MULTIRUN\n  sweep: {subdir: '${oc.select:x,..}/${hydra.job.num}'}", "hydra.sweep.subdir='../0'"
    ),
}  # fmt: skip


@pytest.mark.parametrize(("part", "message"), HYDRA.values(), ids=HYDRA)
def test_a_file_can_set_nothing_of_hydra_s_but_what_is_listed(
    refused: Refused, stranger: Stranger, part: Any, message: Any
) -> None:
    assert message in refused(*stranger(f"# @package _global_\nhydra:\n  {part}\n"))


@pytest.mark.parametrize(
    "part", ["hydra: ${slice}", "hydra: null", "hydra: [a]", "hydra: {job: '${slice}'}", "hydra: x"]
)
def test_a_file_cannot_put_something_else_in_hydra_s_place(refused: Refused, stranger: Stranger, part: Any) -> None:
    assert refused(*stranger(f"# @package _global_\n{part}\n"))


LAUNCHER = {
    "setup": ("slurm", "setup: [touch /tmp/x]", "setup=a list"),
    "python": ("slurm", "python: /tmp/x", "python='/tmp/x'"),
    "srun_args": ("slurm", "srun_args: [--task-prolog=/x]", "srun_args=a list"),
    "additional_parameters": ("slurm", "additional_parameters: {prolog: /x}", "additional_parameters.prolog='/x'"),
    "submitit_folder": ("slurm", "submitit_folder: /tmp/x", "submitit_folder='/tmp/x'"),
    "two lines": ("slurm", 'partition: "a\\ntouch /x"', "partition='a\\ntouch /x'"),
    "a line end": ("slurm", 'partition: "a\\n"', "partition='a\\n'"),
    "no number": ("slurm", "nodes: $(touch x)", "nodes='$(touch x)'"),
    "a reference": ("slurm", "partition: '${name}'", "partition='${name}'"),
    "a name": ("slurm", 'name: "x y"', "name='x y'"),
    "nested": ("slurm", "x: {_args_: [1]}", "x._args_=a list"),
    "runtime_env": ("ray_tasks", "ray: {remote: {runtime_env: {pip: [x]}}}", "ray.remote.runtime_env.pip=a list"),
    "a cluster": ("ray_tasks", "ray: {init: {address: 'x:1'}}", "ray.init.address='x:1'"),
}


@pytest.mark.parametrize(("name", "part", "message"), LAUNCHER.values(), ids=LAUNCHER)
def test_a_file_can_give_a_launcher_amounts_and_names_alone(
    refused: Refused, stranger: Stranger, name: Any, part: Any, message: Any
) -> None:
    """What it runs, and where it writes, is typed on the command line."""
    text = f"# @package _global_\ndefaults: [override /hydra/launcher: {name}]\nhydra: {{launcher: {{{part}}}}}\n"
    error = refused(*stranger(text))
    assert error.startswith(f"hydra.launcher.{message}: a configuration cannot set this for Hydra; ")
    assert error.endswith("add it to the command if you know what it does")


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ("+hydra.job.env_set.PYTHONPATH=/x", "NAME=VALUE python -m evalkit ..."),
        ("hydra.job.env_set={PYTHONPATH:/x}", "hydra.job.env_set"),
        ("++hydra.job.env_set={PYTHONPATH:/x}", "NAME=VALUE python -m evalkit ..."),
        ("hydra.job.env_copy=[HOME]", "NAME=VALUE python -m evalkit ..."),
        ("hydra/job_logging=default", "evalkit writes a log of its own"),
        ("hydra/hydra_logging=hydra_debug", "evalkit writes a log of its own"),
        ("hydra.output_subdir=.hydra", "config.yaml in out_dir holds the settings"),
        ("+hydra.callbacks.x={_target_:evalkit.cli.sweep.SweepReport}", "EVALKIT_ALLOW_TARGETS"),
        ("~hydra.callbacks.sweep_report", "cannot remove this setting"),
        ("hydra.searchpath=[file:///tmp]", "--config-dir DIR"),
        ("+hydra.searchpath=[pkg://theirs]", "--config-dir DIR"),
        ("hydra.launcher._target_=os.system", "only Hydra's own parts and plugins"),
        ("hydra.sweeper._target_=hydra_plugins.x.Y", "EVALKIT_ALLOW_TARGETS=hydra_plugins.x.Y"),
        ("--experimental-rerun=x.pickle", "a pickle, which can run code"),
        ("--experimental=x.pickle", "a pickle, which can run code"),
    ],
)
def test_a_foreign_argument_is_refused_too(refused: Refused, argument: Any, message: Any) -> None:
    assert message in refused(argument)


def test_a_foreign_primary_configuration_reads_no_package(
    refused: Refused, stranger: Stranger, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """To look into a package, Hydra imports it."""
    (tmp_path / "cwd" / "evil.py").write_text("open('ran', 'w')", "utf-8")
    monkeypatch.syspath_prepend(tmp_path / "cwd")
    stranger("defaults: [config, _self_]\nhydra: {searchpath: ['pkg://evil']}\n", "experiment/../primary.yaml")
    error = refused("--config-dir", str(tmp_path / "theirs"), "--config-name", "primary")
    assert error.startswith("hydra.searchpath: ")
    assert "evil" not in sys.modules


def test_a_foreign_launcher_that_is_chosen_by_name_has_the_same_restrictions(
    refused: Refused, stranger: Stranger
) -> None:
    theirs = stranger(f"_target_: {SLURM}\nsetup: [touch /tmp/x]\n", "hydra/launcher/theirs.yaml")
    assert refused(*theirs, "depth=1").startswith("hydra.launcher.setup=a list")


def test_foreign_logging_that_is_chosen_by_name_has_the_same_restrictions(refused: Refused, stranger: Stranger) -> None:
    text = "version: 1\nhandlers: {f: {class: logging.FileHandler, filename: /tmp/x}}\nroot: {handlers: [f]}\n"
    assert "hydra.job_logging" in refused(*stranger(text, "hydra/job_logging/theirs.yaml"))


@pytest.mark.parametrize(
    ("text", "arguments"),
    [
        (
            "hydra: {mode: MULTIRUN, sweep: {subdir: '${hydra.job.num}-${depth}'}, sweeper: {params: {depth: '1,2'}}}",
            [],
        ),
        (
            "defaults: [override /hydra/launcher: slurm]\n"
            "hydra: {launcher: {partition: gpu-a100, timeout_min: 60, mem_gb: null, constraint: a100|h100}}",
            ["hydra.launcher.setup=[module load cuda]"],
        ),
        ("hydra: {job: {config: {override_dirname: {exclude_keys: [out_dir]}}}}", ["hydra.verbose=true"]),
        ("depth: 7", ["hydra.run.dir=x", "hydra.sweep.dir=y"]),
        ("depth: 7", ["hydra/launcher=slurm", "+hydra.launcher.additional_parameters.gres=gpu:1"]),
    ],
)
def test_what_a_packaged_configuration_needs_is_accepted(
    stranger: Stranger, tmp_path: Path, text: Any, arguments: Any
) -> None:
    done = run_here("--cfg", "all", *stranger(f"# @package _global_\n{text}\n"), *arguments, cwd=tmp_path)
    assert done.returncode == 0, done.stderr


def test_the_packaged_experiments_are_accepted(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from evalkit.cli.config import conf_dir

    for experiment in sorted(path.stem for path in (conf_dir() / "experiment").glob("*.yaml")):
        if "miracl_sweep" in experiment:
            monkeypatch.setattr("evalkit.scoring.cluster.settings.find_spec", lambda name: name)
        done = run_here(f"experiment={experiment}", "--cfg", "hydra", cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        assert "sweep_report" in done.stdout


def test_another_hydra_than_the_one_that_is_known_is_not_used(
    refused: Refused, monkeypatch: pytest.MonkeyPatch
) -> None:
    from hydra._internal.config_loader_impl import ConfigLoaderImpl

    monkeypatch.delattr(ConfigLoaderImpl, "_process_config_searchpath")
    assert "has other internals than evalkit knows (_process_config_searchpath)" in refused("depth=5")


# --- the environment --------------------------------------------------------------------------------------------------


def environment() -> dict[str, str]:
    return dict(os.environ)


def test_a_trial_starts_with_the_environment_that_the_user_had(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EVALKIT_THEIRS", "from the user")
    user = dict(os.environ)
    monkeypatch.setenv("EVALKIT_THEIRS", "from somebody else")
    monkeypatch.setenv("EVALKIT_MORE", "1")
    found = in_fresh_process(environment, environment=user)
    assert found["EVALKIT_THEIRS"] == "from the user"
    assert "EVALKIT_MORE" not in found
    assert os.environ["EVALKIT_THEIRS"] == "from somebody else"
    assert os.environ["EVALKIT_MORE"] == "1"


def test_a_trial_of_the_command_line_starts_with_the_users_environment(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Nothing that happens between the start and the trial can add to it: not even a variable of Hydra's own."""
    started = {}

    def note(job: Any, *arguments: Any, time_limit_s: Any = None, environment: Any = None, **others: Any) -> None:
        started.update(environment)
        raise EvalkitError("enough")

    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("EVALKIT_THEIRS", "from the user")
    monkeypatch.setenv("HYDRA_FULL_ERROR", "0")
    monkeypatch.setattr(process, "in_fresh_process", note)
    monkeypatch.setattr(sys, "argv", ["evalkit", "out_dir=out"])
    GlobalHydra.instance().clear()
    with pytest.raises(SystemExit):
        app.main()
    assert started["EVALKIT_THEIRS"] == "from the user"
    assert started["HYDRA_FULL_ERROR"] == "0"  # which app.main sets for itself


READ = "${oc.env:EVALKIT_PLANTED}"


@pytest.mark.parametrize(
    ("setting", "how"),
    [("name", READ), ("name", "${oc.env:EVALKIT_PLANTED,x}"), ("name", f"a-${{oc.decode:{READ}}}"),
     ("reranker.model", READ), ("first_stage.name", READ), ("out_dir", READ), ("gate.baseline", READ)],
)  # fmt: skip
def test_a_configuration_reads_no_variable_that_is_not_ours(
    refused: Refused, stranger: Stranger, monkeypatch: pytest.MonkeyPatch, setting: Any, how: Any
) -> None:
    monkeypatch.setenv("EVALKIT_PLANTED", "planted")
    first, _, second = setting.partition(".")
    text = f"{first}: {{{second}: '{how}'}}" if second else f"{first}: '{how}'"
    error = refused(*stranger(f"# @package _global_\n{text}\n"))
    assert error.startswith("${oc.env:EVALKIT_PLANTED}: a configuration can read EVALKIT_STORE, ")
    assert 'key="$EVALKIT_PLANTED"' in error
    assert "planted" not in error


def test_the_variables_that_are_ours_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    from omegaconf import OmegaConf

    monkeypatch.setenv("RAY_ADDRESS", "ray://head:10001")
    with hydra_limits.in_force():
        cfg = OmegaConf.create({"a": "${oc.env:RAY_ADDRESS,local}", "b": "${oc.env:EVALKIT_STORE_,x}"})
        assert cfg.a == "ray://head:10001"
        with pytest.raises(Exception, match="EVALKIT_STORE_"):
            assert cfg.b


# --- where files are written ------------------------------------------------------------------------------------------

ELSEWHERE = {
    "out_dir": "out_dir: /tmp/elsewhere",
    "out_dir above": "out_dir: ../elsewhere",
    "out_dir at home": "out_dir: ~/elsewhere",
    "out_dir by its name": "name: /../../../../elsewhere",
    "out_dir by a reference": "out_dir: '${oc.select:hydra.runtime.output_dir,/tmp/elsewhere}'",
    "store": "store: /tmp/elsewhere.db",
    "history": "history: /tmp/elsewhere.db",
    "store of the reranker": "reranker: {store: /tmp/elsewhere.db}",
    "first_stage_cache": "first_stage_cache: /tmp/elsewhere",
    "cache of the first stage": "first_stage: {cache: /tmp/elsewhere}",
    "cache of the reranker": "defaults: [override /reranker: colbert_small]\nreranker: {cache: /tmp/elsewhere}",
    "junit": "gate: {junit: /tmp/elsewhere.xml}",
    "markdown": "gate: {markdown: /tmp/elsewhere.md}",
}


@pytest.mark.parametrize("text", ELSEWHERE.values(), ids=ELSEWHERE)
def test_a_foreign_file_cannot_write_outside_of_the_folder(refused: Refused, stranger: Stranger, text: Any) -> None:
    error = refused(*stranger(f"# @package _global_\n{text}\n"))
    assert "a file of --config-dir can have files written below" in error
    assert "to the command to write elsewhere" in error


def test_a_folder_that_leads_out_by_a_link_is_outside(refused: Refused, stranger: Stranger, tmp_path: Path) -> None:
    (tmp_path / "cwd" / "link").symlink_to(tmp_path)
    assert "files written below" in refused(*stranger("# @package _global_\nout_dir: link/out\n"))


def test_a_foreign_file_cannot_name_a_cluster(refused: Refused, stranger: Stranger) -> None:
    text = "# @package _global_\ndefaults: [override /executor: ray]\nexecutor: {address: 'their.host:6379'}\n"
    assert refused(*stranger(text)).startswith("executor.address='their.host:6379': a file of --config-dir cannot")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("url: 'http://their.host/rerank'", "reranker.url='http://their.host/rerank': a file of --config-dir cannot"),
        ("key_env: AWS_SECRET_ACCESS_KEY", "reranker.key_env: a file of --config-dir cannot choose who receives texts"),
        ("url: 'http://127.0.0.1:1/'", "reranker.url='http://127.0.0.1:1/': a file of --config-dir cannot choose who"),
    ],
)
def test_a_foreign_file_cannot_send_texts_or_a_key_anywhere(
    refused: Refused, stranger: Stranger, text: str, message: str
) -> None:
    theirs = f"# @package _global_\ndefaults: [override /reranker: http]\nreranker: {{{text}, protocol: tei}}\n"
    url = () if text.startswith("url") else ("reranker.url=http://127.0.0.1:1",)
    assert refused(*stranger(theirs), *url).startswith(message)


def test_what_is_typed_is_written_wherever_the_user_wants(beir_folder: Any, stranger: Stranger, tmp_path: Path) -> None:
    (tmp_path / "cwd").mkdir()
    theirs = stranger("# @package _global_\nout_dir: /proc/never\nfirst_stage_cache: cache\n")
    runs = ["slice=beir", f"slice.path={beir_folder}", "first_stage=trec_run", "reranker=trec_run",
            f"first_stage.path={beir_folder}/first.trec", f"reranker.path={beir_folder}/reranked.trec"]  # fmt: skip
    done = run_here(*theirs, *runs, f"out_dir={tmp_path}/typed", cwd=tmp_path / "cwd")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "typed" / "result.json").exists()


# --- files that are no sane configuration -----------------------------------------------------------------------------

LAUGHS = "a: &a [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{name}: &{name} [{', '.join([f'*{before}'] * 9)}]\n" for before, name in zip("abcdefgh", "bcdefghi", strict=True)
)
ODD = {
    "a billion laughs": (LAUGHS, "its aliases (*name) expand to more than 100,000 values"),
    "itself": ("name: &a [*a]\n", "line 2: the value refers to itself"),
    "depth": ("name: " + "[" * 3000 + "]" * 3000, "nested deeper than 50 levels"),
    "some depth": ("name: " + "[" * 60 + "]" * 60, "nested deeper than 50 levels"),
    "size": ("name: " + "x" * 2**20, "larger than 1 MiB"),
    "no YAML": ("name: [a\n", "line 3: not valid YAML"),
    "an object": ("name: !!python/object/apply:os.system [touch x]\n", "python/object/apply"),
    "a control character": ("name: a\x00b\n", "not valid YAML"),
}


@pytest.mark.parametrize(("text", "message"), ODD.values(), ids=ODD)
def test_a_file_that_is_no_sane_configuration_is_refused_at_once(
    refused: Refused, stranger: Stranger, text: Any, message: Any
) -> None:
    began = time.monotonic()
    assert message in refused(*stranger(f"# @package _global_\n{text}"))
    assert time.monotonic() - began < 60


@pytest.mark.parametrize("item", ["'{0}{0}'", "{{a: '{0}', b: '{0}'}}"], ids=["texts", "structures"])
def test_references_that_double_and_double_are_refused_at_once(refused: Refused, stranger: Stranger, item: Any) -> None:
    doubled = "".join(f"    - {item.format('${slice.reference[' + str(n + 1) + ']}')}\n" for n in range(40))
    began = time.monotonic()
    error = refused(*stranger(f"# @package _global_\nslice:\n  reference:\n{doubled}    - x\n"))
    assert "has so many references (${...})" in error
    assert time.monotonic() - began < 60


@pytest.mark.parametrize("text", ["name: ${name}", "name: ${out_dir}", "depth: ${gate}", "slice: ${slice}"])
def test_references_in_a_circle_are_a_sentence(refused: Refused, stranger: Stranger, text: Any) -> None:
    assert refused(*stranger(f"# @package _global_\n{text}\n"))


# --- folders of two jobs ----------------------------------------------------------------------------------------------


class Still:
    """A clock that stands still."""

    @staticmethod
    def now() -> datetime:
        return datetime(2026, 1, 2, 3, 4, 5)


def test_jobs_begun_in_one_second_have_a_folder_each(tmp_path: Path) -> None:
    from concurrent.futures import ThreadPoolExecutor

    from evalkit.cli import run_folder

    wanted = tmp_path / "reports" / "runs" / "20260101-000000-dev"
    with ThreadPoolExecutor(8) as pool:
        found = sorted(path.name for path in pool.map(lambda _: run_folder.first_free(wanted), range(8)))
    assert found == [wanted.name, *(f"{wanted.name}-{n}" for n in range(2, 9))]


@pytest.mark.parametrize("sweep", [[], ["--multirun", "protocol.seed=1,2"]], ids=["trials", "sweeps"])
def test_three_jobs_begun_in_one_second_all_have_a_result(
    beir_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sweep: list[str]
) -> None:
    """The second is given by a name of the folder without one, as if the clock stood still."""
    runs = ["slice=beir", f"slice.path={beir_folder}", "first_stage=trec_run", "reranker=none", "depth=3",
            f"first_stage.path={beir_folder}/first.trec"]  # fmt: skip
    monkeypatch.setattr("hydra.core.utils.datetime", Still)
    for _ in range(3):
        done = run_here(*sweep, *runs, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
    folders = sorted((tmp_path / "reports" / "runs").iterdir())
    assert [path.name for path in folders] == [f"20260102-030405-beir{more}" for more in ("", "-2", "-3")]
    last = "sweep.json" if sweep else "result.json"
    for folder in folders:
        found = json.loads((folder / last).read_text("utf-8"))
        for one in found if sweep else [found]:
            assert one["status"] == "finished"
            assert one["asked"]["out_dir"] == str(folder.relative_to(tmp_path))


def test_a_command_may_have_the_blends_of_a_sweep_compared(beir_folder: Path, tmp_path: Path) -> None:
    done = run_here("--multirun", "protocol.seed=1,2", "hydra.callbacks.sweep_report.blended=true", "slice=beir",
                    f"slice.path={beir_folder}", "first_stage=trec_run", f"first_stage.path={beir_folder}/first.trec",
                    "reranker=none", "depth=3", "out_dir=out", cwd=tmp_path)  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "out" / "comparison" / "comparison.json").exists()


def test_comparisons_begun_in_one_second_have_a_folder_each(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from evalkit.cli import commands, compare_command
    from evalkit.report import folder, terminal
    from evalkit.results import compare, reading

    written = []
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(reading, "read", lambda where: where)
    monkeypatch.setattr(compare, "side_by_side", lambda *found, **how: None)
    monkeypatch.setattr(folder, "write_comparison", lambda compared, output: written.append(output.name))
    monkeypatch.setattr(terminal, "show_comparison", lambda compared, output: None)
    monkeypatch.setattr(compare_command, "datetime", Still)
    for _ in range(3):
        commands.run(["compare", "a", "b"], lambda overrides: {})
    assert written == [f"20260102-030405-compare{more}" for more in ("", "-2", "-3")]
