"""The command line: composes the configuration with Hydra, checks it, runs the task, sets the exit code."""

import io
import json
import os
import re
import sys
import time
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import hydra
from hydra._internal.utils import get_args_parser
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from evalkit import __version__
from evalkit.boundary import progress, redaction, signals
from evalkit.boundary.errors import EvalkitError, NotFiniteError
from evalkit.boundary.progress import LOG, say
from evalkit.boundary.signals import Stopped
from evalkit.boundary.text import user_path
from evalkit.cli import commands, composed, fusion_members, gate_command, hydra_limits, optuna_sweeper, session
from evalkit.cli.config import conf_dir, register_schemas
from evalkit.cli.messages import sentence
from evalkit.cli.session import BAD_INPUT, FAILED, INTERRUPTED
from evalkit.cli.sweep import end_sweep
from evalkit.results import provenance
from evalkit.results.history import tracking

if TYPE_CHECKING:
    from evalkit.rerankers.quickcheck import Check

_RAISED_BY_HYDRA = (
    ValueError, TypeError, AttributeError, ArithmeticError, AssertionError, LookupError, RecursionError
)  # fmt: skip


def main() -> None:
    """Run the command line and exit: 0 done, 1 a gate or a trial of a sweep failed, 2 bad input, 130 interrupted.

    A signal gives 128 and its number: 143 for SIGTERM. A sweep writes its combined report however it ends.

    Raises:
        SystemExit: always with the exit code, unless an exception shows its traceback.
        Exception: an unexpected error while the task ran, or any error where HYDRA_FULL_ERROR=1 asks for its traceback.
    """
    state = session.begin(dict(os.environ))
    redaction.add_secrets_of_environment(os.environ)
    redaction.add_secrets_of_command(sys.argv[1:])
    progress.set_format("text")
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # texts may hold what the terminal's encoding cannot
    os.environ["HYDRA_FULL_ERROR"] = "1"  # let errors come through to here instead of being printed by Hydra
    register_schemas()
    compose = hydra.main(config_path=str(conf_dir()), config_name="config", version_base="1.3")
    try:
        with signals.handle_signals(), hydra_limits.in_force():
            if sys.argv[1:2] and sys.argv[1] in commands.COMMANDS:
                state.began = True
                sys.exit(commands.run(sys.argv[1:], composed.gate_settings))
            if _answered():
                sys.exit(0)
            _read_arguments()
            try:
                compose(_job)()
            except BaseException as error:
                if str(error) != optuna_sweeper.NOTHING_FINISHED:
                    end_sweep(whole=False)
                    raise
            end_sweep(whole=True)
    except KeyboardInterrupt as stop:
        name, code = (stop.name, stop.exit_code) if isinstance(stop, Stopped) else ("SIGINT", INTERRUPTED)
        say(f"evalkit: {state.stopped or f'stopped by {name}'}")
        sys.exit(code)
    except (EvalkitError, HydraException, OmegaConfBaseException, OSError) as error:
        if state.wants_traceback:
            raise
        say(f"evalkit: {sentence(error)}")
        sys.exit(BAD_INPUT)
    except _RAISED_BY_HYDRA as error:
        # What Hydra raises for some arguments, such as a number of 5,000 digits, and for some configurations, such as a
        # list in place of a mapping.
        if state.wants_traceback or state.began:
            raise
        why = " ".join(str(error).split())[:300] or type(error).__name__
        say(f"evalkit: cannot read the arguments or the configuration: {why}; settings are written key=value")
        sys.exit(BAD_INPUT)
    sys.exit(state.exit_code)


def _answered() -> bool:
    """Print evalkit's version or help if that is what was asked for, and return whether it was."""
    from evalkit.report import terminal

    if "--version" in sys.argv[1:]:
        terminal.show_lines([f"evalkit {__version__}"])
        return True
    given, _ = get_args_parser().parse_known_args(sys.argv[1:])
    if not given.help:
        return False
    from evalkit.cli import help_text

    terminal.show_lines(help_text.lines(user_path(given.config_dir).resolve() if given.config_dir else None))
    return True


def _read_arguments() -> None:
    """Note which settings are from the command line, before Hydra parses it.

    Raises:
        EvalkitError: a pickle is to be read, or an option stands after a setting.
    """
    given, left = get_args_parser().parse_known_args(sys.argv[1:])
    if left and all("=" in one for one in left):
        raise EvalkitError(f"{left[0]}: options such as --multirun and --config-dir go before all settings")
    if given.experimental_rerun is not None:
        raise EvalkitError(
            "--experimental-rerun reads a pickle, which can run code; run it again with the settings in its config.yaml"
        )
    hydra_limits.note_command_line(given.overrides)


def _job(cfg: DictConfig) -> object:
    """Run one trial, and print its error: raised through Hydra, it would be printed twice, and end a sweep.

    Returns:
        The values that Optuna's sweeper is to optimise; None for any other sweeper, and for a trial that failed.
    """
    state = session.current()
    state.began = True
    sweeps = HydraConfig.get().mode == RunMode.MULTIRUN
    started = time.perf_counter()
    hydra_limits.limit_resolvers()  # not yet done in a process that a launcher started
    if state.sweep is not None:
        state.sweep.folders[int(HydraConfig.get().job.num)] = Path(HydraConfig.get().runtime.output_dir).name
    values: object = None
    try:
        _run(cfg)
        values = _objective()
    except (EvalkitError, OmegaConfBaseException, OSError) as error:
        if state.wants_traceback:
            raise
        state.exit_code = FAILED if sweeps else BAD_INPUT
        failure = sentence(error)
    except Exception as error:
        if state.wants_traceback or not sweeps:
            raise
        state.exit_code = FAILED
        failure = redaction.text(
            f"{type(error).__name__}: {error} (a defect of evalkit or a library; the traceback is in {LOG})"
        )
    else:
        failure = ""
    if failure:
        say(f"evalkit: {failure}")
    if state.sweep is not None:
        state.sweep.ended(int(HydraConfig.get().job.num), time.perf_counter() - started, failure)
    return None if failure else values


def _objective() -> object:
    """Return what the sweeper needs of the trial that has just finished."""
    sweeper: Any = OmegaConf.to_container(HydraConfig.get().sweeper)
    if sweeper.get("_target_") != optuna_sweeper.TARGET:
        return None
    return optuna_sweeper.objective(Path(HydraConfig.get().runtime.output_dir), optuna_sweeper.directions_of(sweeper))


def _run(cfg: DictConfig) -> None:
    from evalkit.cli import own_texts, run_folder

    state = session.current()
    folder = Path(HydraConfig.get().runtime.output_dir)
    fusion_members.expand(cfg)
    asked = composed.plain(cfg)
    redaction.add_secrets(asked)
    shown = redaction.settings(asked)
    hydra_limits.check_written(asked)
    tracking.check(asked["tracking"])
    progress.set_format(asked["log_format"])
    gate = None
    texts = own_texts.read(asked["query"], asked["passages"]) if asked["task"] == "quickcheck" else None
    if asked["task"] == "gate":
        gate = gate_command.Gate.of(asked["gate"], list(HydraConfig.get().overrides.task), composed.limits_of_ci())
    facts = redaction.settings(provenance.collect(redaction.command(provenance.command_line())))
    if HydraConfig.get().mode == RunMode.MULTIRUN:
        is_done = run_folder.is_done(folder, shown, facts)
    else:
        is_done = False
        if hydra_limits.has_packaged_out_dir(cfg):
            folder = run_folder.first_free(folder)
            asked["out_dir"] = shown["out_dir"] = str(Path(asked["out_dir"]).with_name(folder.name))
    if is_done:
        say(f"{folder.name}: already finished with the same settings; overwrite=true runs it again")
        return
    with run_folder.claimed(folder, bool(cfg.overwrite)) as log, progress.log_to(log):
        progress.event("command", command=facts["command"], evalkit=facts["evalkit"])
        try:
            run_folder.write(folder / "config.yaml", _yaml(shown))
            _work(folder, asked, facts, gate, texts)
        except BaseException as error:
            message = run_folder.write_why(folder, shown, facts, error)
            if isinstance(error, KeyboardInterrupt):
                state.stopped = message
            raise
        progress.event("finished")


def _work(
    folder: Path, asked: dict[str, Any], facts: dict[str, Any], gate: "gate_command.Gate | None", texts: "Check | None"
) -> None:
    """Run the task in a fresh process, and print its result."""
    from evalkit.cli import recording, run_folder, tasks
    from evalkit.cli.process import in_fresh_process, in_shared_process
    from evalkit.report import terminal

    state = session.current()
    limit_s = asked["time_limit_s"]
    sweeps = HydraConfig.get().mode == RunMode.MULTIRUN
    if asked["task"] == "quickcheck":
        (folder / "quickcheck.json").unlink(missing_ok=True)  # of an earlier check; this one may fail
        found = in_fresh_process(
            tasks.run_quickcheck, asked, texts, time_limit_s=limit_s, environment=state.environment
        )
        run_folder.write(folder / "quickcheck.json", json.dumps(asdict(found), indent=1, ensure_ascii=False) + "\n")
        if sweeps:
            terminal.show_quickcheck_of_sweep(found)
        else:
            terminal.show_quickcheck(found)
            terminal.show_folder(str(folder))
        if not found.batch_and_single_agree:
            raise EvalkitError("batched and single scores differ: padding changes the scores of this model")
        return
    say(f"{asked['name']}: {_choices()}")
    in_process = in_shared_process if sweeps and tasks.computes_nothing(asked) else in_fresh_process
    try:
        result = in_process(
            tasks.run_trial, asked, facts, folder,
            time_limit_s=limit_s, environment=state.environment, on_result=_show, meanwhile=tasks.import_evaluation,
        )  # fmt: skip
    except NotFiniteError as error:
        if gate is None:
            raise
        run_folder.write_why(folder, redaction.settings(asked), facts, error)  # the gate has a check for it
    else:
        terminal.show_folder(str(folder))
        recording.record(result, folder, asked["history"], asked["tracking"])
        if result.status != "finished":
            say(f"evalkit: the result is complete but for {', '.join(result.missing)}; the traceback is in {LOG}")
            state.exit_code = FAILED
    if gate:
        state.exit_code = max(state.exit_code, gate.run(folder))


def _show(found: Any) -> None:
    """Print the quality of a result before its queries are timed, and its cost before its pictures are drawn."""
    from evalkit.cli import tasks
    from evalkit.report import terminal

    with suppress(OSError):  # nobody reads it: an error once the folder is written, not before
        if isinstance(found, tasks.Ranked):
            terminal.show_quality(found.result)
        else:
            terminal.show_cost(found)
        sys.stdout.flush()


def _yaml(settings: dict[str, Any]) -> str:
    """Return settings as YAML, with ``${`` escaped: it would be read as a reference to another setting."""

    def escaped(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: escaped(inner) for key, inner in value.items()}
        if isinstance(value, list):
            return [escaped(inner) for inner in value]
        return re.sub(r"(\\*)\$\{", r"\1\1\\${", value) if isinstance(value, str) else value

    return OmegaConf.to_yaml(OmegaConf.create(escaped(settings)))


def _choices() -> str:
    chosen = HydraConfig.get().runtime.choices
    groups = ("slice", "first_stage", "reranker", "precision")
    return ", ".join(f"{group} {chosen[group]}" for group in groups)
