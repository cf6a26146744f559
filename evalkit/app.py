"""The command line; with `evalkit.hydra_limits` what knows Hydra. It composes, checks, hands on, sets exit codes."""

import io
import json
import math
import os
import re
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import fields
from pathlib import Path
from typing import Any

import hydra
from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra._internal.utils import get_args_parser
from hydra.core.config_store import ConfigStore
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException, MissingConfigException, OverrideParseException
from hydra.experimental.callback import Callback
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf, open_dict, read_write
from omegaconf.errors import InterpolationKeyError, OmegaConfBaseException

from evalkit import commands, config, hydra_limits, provenance, quoting
from evalkit.boundary import progress, redaction, signals
from evalkit.boundary.progress import LOG, say
from evalkit.boundary.signals import Stopped
from evalkit.config import SCHEMAS, conf_dir
from evalkit.errors import EvalkitError, NotFiniteError, nearest

FAILED, BAD_INPUT, INTERRUPTED = 1, 2, 130
_HYDRA_ENDS_IN = (
    ValueError, TypeError, AttributeError, ArithmeticError, AssertionError, LookupError, RecursionError
)  # fmt: skip
_TASKS = ("trial", "quickcheck", "gate")
_exit_code = 0
"""Set by a trial or a gate that failed; a sweep goes on without it."""
_began = False
"""Set once there is a job or a command: what fails before that is the command line."""
_wants_traceback = False
"""Set where the user asked for it with HYDRA_FULL_ERROR=1."""
_sweep: "SweepReport | None" = None
"""The sweep that is going on."""
_stopped: str | None = None
"""What a trial that was stopped has to say."""
_environment: dict[str, str] | None = None
"""What the user started evalkit with; None in a process that a launcher started."""


def main() -> None:
    """Run the command line and exit: 0 done, 1 a gate or a trial of a sweep failed, 2 bad input, 130 interrupted.

    A signal gives 128 and its number: 143 for SIGTERM. What a sweep has done is reported, however it ends.
    """
    global _wants_traceback, _began, _environment
    _began = False
    _environment = dict(os.environ)
    redaction.learn_environment(os.environ)
    redaction.learn_command(sys.argv[1:])
    progress.use("text")
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # texts may hold what the terminal's encoding cannot
    _wants_traceback = os.environ.get("HYDRA_FULL_ERROR") == "1"
    os.environ["HYDRA_FULL_ERROR"] = "1"  # let errors come through to here instead of being printed by Hydra
    for (group, name), schema in SCHEMAS.items():
        ConfigStore.instance().store(group=group, name=name, node=schema)
    compose = hydra.main(config_path=str(conf_dir()), config_name="config", version_base="1.3")
    try:
        with signals.heard(), hydra_limits.in_force():
            if sys.argv[1:2] and sys.argv[1] in commands.NAMES:
                _began = True
                sys.exit(commands.run(sys.argv[1:], _gate_settings))
            _read_arguments()
            try:
                compose(_job)()
            except BaseException:
                _end_of_sweep(whole=False)
                raise
            _end_of_sweep(whole=True)
    except KeyboardInterrupt as stop:
        name, code = (stop.name, stop.exit_code) if isinstance(stop, Stopped) else ("SIGINT", INTERRUPTED)
        say(f"evalkit: {_stopped or f'stopped by {name}'}")
        sys.exit(code)
    except (EvalkitError, HydraException, OmegaConfBaseException, OSError) as error:
        if _wants_traceback:
            raise
        say(f"evalkit: {_sentence(error)}")
        sys.exit(BAD_INPUT)
    except _HYDRA_ENDS_IN as error:
        # What Hydra's parser of the command line ends in for some arguments, such as a number of 5,000 digits, and what
        # it makes of some configurations, such as a list in place of a mapping.
        if _wants_traceback or _began:
            raise
        why = " ".join(str(error).split())[:300] or type(error).__name__
        say(f"evalkit: cannot read the arguments or the configuration: {why}; settings are written key=value")
        sys.exit(BAD_INPUT)
    sys.exit(_exit_code)


def _read_arguments() -> None:
    """Take note of what the user typed, before Hydra reads it with the same parser.

    Raises:
        EvalkitError: Hydra is to take up a pickle, or an option stands between the settings.
    """
    given, left = get_args_parser().parse_known_args(sys.argv[1:])
    if left and all("=" in one for one in left):
        raise EvalkitError(f"{left[0]}: options such as --multirun and --config-dir stand before all settings")
    if given.experimental_rerun is not None:
        raise EvalkitError(
            "--experimental-rerun reads a pickle, which can run code; run it again with the settings in its config.yaml"
        )
    hydra_limits.typed(given.overrides)


def _job(cfg: DictConfig) -> None:
    """Run one trial. Errors are told here: raised through Hydra, they would be told twice, and end a sweep."""
    global _exit_code, _began
    _began = True
    sweeps = HydraConfig.get().mode == RunMode.MULTIRUN
    started = time.perf_counter()
    hydra_limits.limit_resolvers()  # in a process that a launcher started, nobody has yet
    if _sweep is not None:
        _sweep.folders[int(HydraConfig.get().job.num)] = Path(HydraConfig.get().runtime.output_dir).name
    try:
        _run(cfg)
    except (EvalkitError, OmegaConfBaseException, OSError) as error:
        if _wants_traceback:
            raise
        _exit_code = FAILED if sweeps else BAD_INPUT
        told = _sentence(error)
    except Exception as error:
        if _wants_traceback or not sweeps:
            raise
        _exit_code = FAILED
        told = redaction.text(f"{type(error).__name__}: {error} (no mistake of yours; the traceback is in {LOG})")
    else:
        told = ""
    if told:
        say(f"evalkit: {told}")
    if _sweep is not None:
        _sweep.ended(int(HydraConfig.get().job.num), time.perf_counter() - started, told)


def _run(cfg: DictConfig) -> None:
    from evalkit import run_folder

    global _stopped
    folder = Path(HydraConfig.get().runtime.output_dir)
    asked = _asked(cfg)
    redaction.learn(asked)
    shown = redaction.settings(asked)
    hydra_limits.check_written(asked)
    progress.use(asked["log_format"])
    gate = None
    if asked["task"] == "gate":
        gate = commands.Gate.of(asked["gate"], list(HydraConfig.get().overrides.task), _limits_of_ci())
    facts = redaction.settings(provenance.collect(redaction.command(provenance.command_line())))
    if HydraConfig.get().mode == RunMode.MULTIRUN:
        is_done = run_folder.is_done(folder, shown, facts)
    else:
        is_done = False
        if hydra_limits.has_packaged_out_dir(cfg):
            folder = run_folder.first_free(folder)
            asked["out_dir"] = shown["out_dir"] = str(Path(asked["out_dir"]).with_name(folder.name))
    if is_done:
        say(f"{folder.name}: finished before with the same settings, and kept; overwrite=true runs it again")
        return
    with run_folder.claimed(folder, bool(cfg.overwrite)) as log, progress.logged(log):
        progress.event("command", command=facts["command"], evalkit=facts["evalkit"])
        try:
            run_folder.write(folder / "config.yaml", _yaml(shown))
            _work(folder, asked, facts, gate)
        except BaseException as error:
            told = run_folder.write_why(folder, shown, facts, error)
            if isinstance(error, KeyboardInterrupt):
                _stopped = told
            raise
        progress.event("finished")


def _work(folder: Path, asked: dict[str, Any], facts: dict[str, Any], gate: "commands.Gate | None") -> None:
    """Do what was asked in a fresh process, and show what came of it."""
    from evalkit import jobs, run_folder
    from evalkit.report import terminal
    from evalkit.worker import in_fresh_process, in_kept_process

    global _exit_code
    limit_s = asked["time_limit_s"]
    if asked["task"] == "quickcheck":
        found = in_fresh_process(jobs.run_quickcheck, asked, time_limit_s=limit_s, environment=_environment)
        run_folder.write(folder / "quickcheck.json", json.dumps(found, indent=1, ensure_ascii=False) + "\n")
        terminal.show_quickcheck(found)
        if not found["batch_and_single_agree"]:
            raise EvalkitError("batch and single scores disagree, so padding leaks into the scores of this model")
        return
    say(f"{asked['name']}: {_choices()}")
    sweeps = HydraConfig.get().mode == RunMode.MULTIRUN
    in_process = in_kept_process if sweeps and jobs.computes_nothing(asked) else in_fresh_process
    try:
        result = in_process(jobs.run_trial, asked, facts, folder, time_limit_s=limit_s, environment=_environment)
    except NotFiniteError as error:
        if gate is None:
            raise
        run_folder.write_why(folder, redaction.settings(asked), facts, error)  # it has a check for that
    else:
        terminal.show(result, str(folder))
        if result["status"] != "finished":
            say(f"evalkit: the result is there, but not {', '.join(result['missing'])}; the traceback is in {LOG}")
            _exit_code = FAILED
    if gate:
        _exit_code = max(_exit_code, gate.run(folder))


def _limits_of_ci() -> dict[str, Any]:
    packaged = OmegaConf.to_container(OmegaConf.load(conf_dir() / "experiment" / "ci.yaml"))
    assert isinstance(packaged, dict)
    return dict(packaged["gate"])


def _gate_settings(overrides: list[str]) -> dict[str, Any]:
    """Compose the gate's settings alone, for the commands that run no trial."""
    hydra_limits.typed(overrides)
    with hydra.initialize_config_dir(str(conf_dir()), version_base="1.3"):
        settings = OmegaConf.to_container(hydra.compose("config", overrides).gate, resolve=True)
    assert isinstance(settings, dict)
    return {str(key): value for key, value in settings.items()}


class SweepReport(Callback):
    """Keeps the folder of a sweep to itself, and reports what came of its trials."""

    def __init__(self) -> None:
        self.failures: dict[int, str] = {}
        """Trial number -> what was said of it."""
        self.folders: dict[int, str] = {}
        """Trial number -> the name of its folder, of those that were begun in this process."""
        self._held = ExitStack()

    def __getstate__(self) -> dict[str, Any]:
        """Return what a launcher may send to another process: the lock on the folder stays here."""
        return {"failures": {}, "folders": {}}

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        """Lock the folder of the sweep."""
        global _sweep
        from evalkit import run_folder

        self._trials = _trials(config)
        try:
            with hydra_limits.seen(config):
                self._folder = Path(config.hydra.sweep.dir)
            if hydra_limits.has_packaged_out_dir(config):
                self._folder = _own_folder_of_sweep(config, self._folder)
            with read_write(config), open_dict(config):
                config.hydra.sweep.dir = str(self._folder)  # Hydra's sweeper cannot resolve ${hydra:...} yet
            progress.use(config.log_format)
            self._held.enter_context(progress.logged(self._held.enter_context(run_folder.locked(self._folder))))
        except (EvalkitError, OmegaConfBaseException) as error:
            say(f"evalkit: {_sentence(error)}")
            sys.exit(BAD_INPUT)  # Hydra would make a warning of any error here
        _sweep = self

    def ended(self, trial: int, seconds: float, failure: str) -> None:
        """Take note of how a trial ended; `failure` is what was said of it, or empty."""
        progress.event("trial", trial=trial, seconds=round(seconds, 3), failure=failure or None)
        if failure:
            self.failures[trial] = failure

    def end(self, whole: bool) -> bool:
        """Report what came of the trials, and return whether all of them finished.

        Raises:
            EvalkitError: the report cannot be written.
        """
        from evalkit import sweep

        with self._held:
            return sweep.report(self._folder, self._trials, self.folders, self.failures, whole)


def _own_folder_of_sweep(config: DictConfig, folder: Path) -> Path:
    """Return a folder that no other sweep of this second has, and have the trials know of it."""
    from evalkit import run_folder

    free = run_folder.first_free(folder)
    if typed := quoting.for_hydra(f"out_dir={free}", hydra_limits.read_value):
        with read_write(config), open_dict(config):
            config.hydra.overrides.task.append(typed)
    return free


def _end_of_sweep(whole: bool) -> None:
    global _sweep, _exit_code
    sweep, _sweep = _sweep, None
    if sweep is not None:
        try:
            finished = sweep.end(whole)
        except (EvalkitError, OSError) as error:
            say(f"evalkit: {_sentence(error)}")
            finished = False
        if not finished:
            _exit_code = max(_exit_code, FAILED)


def _trials(config: DictConfig) -> list[str] | None:
    """Return what sets each trial of a sweep apart; None where another sweeper than Hydra's own decides on them."""
    sweeper = config.hydra.sweeper
    if not str(sweeper._target_).endswith(f".{BasicSweeper.__name__}"):
        return None
    given = [f"{key}={value}" for key, value in (sweeper.params or {}).items()] + list(config.hydra.overrides.task)
    try:
        overrides = OverridesParser.create().parse_overrides(given)
        trials = [one for batch in BasicSweeper.split_arguments(overrides, None) for one in batch]
    except HydraException:
        return None  # Hydra will say so itself
    common = set.intersection(*map(set, trials))
    return [" ".join(override for override in one if override not in common) for one in trials]


def _asked(cfg: DictConfig) -> dict[str, Any]:
    """Return the resolved configuration as a plain dictionary.

    Raises:
        EvalkitError: a required value is missing, a number is not finite, the task is unknown, or the time limit is
            none.
    """
    missing = sorted(OmegaConf.missing_keys(cfg))
    if missing:
        examples = " ".join(f"{key}=..." for key in missing)
        raise EvalkitError(f"{', '.join(missing)} must be given: add {examples} to the command")
    try:
        asked = OmegaConf.to_container(cfg, resolve=True)
    except RecursionError:
        raise EvalkitError("the configuration refers to itself without end (${...})") from None
    assert isinstance(asked, dict)
    if wrong := next(_not_finite(asked, ""), None):
        raise EvalkitError(f"{wrong}: give a finite number")
    if asked["task"] not in _TASKS:
        raise EvalkitError(f"task={asked['task']}: no such task{nearest(str(asked['task']), _TASKS)}")
    if asked["time_limit_s"] is not None and not asked["time_limit_s"] > 0:
        raise EvalkitError(
            f"time_limit_s={asked['time_limit_s']:g}: give a number of seconds above 0, or null for none"
        )
    return {str(key): value for key, value in asked.items()}


def _not_finite(value: object, name: str) -> Iterator[str]:
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from _not_finite(inner, f"{name}.{key}".lstrip("."))
    elif isinstance(value, list):
        for inner in value:
            yield from _not_finite(inner, name)
    elif isinstance(value, float) and not math.isfinite(value):
        yield f"{name}={value}"


def _yaml(settings: dict[str, Any]) -> str:
    """Return settings as the YAML of a configuration, where ``${`` in a text is written so that it stays text."""

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


def _sentence(error: Exception) -> str:
    """Return one sentence for what Hydra, OmegaConf or the file system raised."""
    if isinstance(error, EvalkitError):
        return str(error)
    if isinstance(error, MissingConfigException) and error.missing_cfg_file:
        group, _, name = str(error.missing_cfg_file).rpartition("/")
        options = [option for option in error.options or () if not option.startswith("schema_")]
        return f"there is no {group or 'config'} {name!r}{nearest(name, options)}"
    if isinstance(error, OSError) and hasattr(error, "__notes__"):  # from the trial's process, and not of its results
        return f"{type(error).__name__}: {error}"
    if isinstance(error, OSError):
        where = f" ({error.filename})" if error.filename else ""
        return f"cannot write the results{where}: {error.strerror or error}; name another folder with out_dir=DIR"
    if isinstance(error, OverrideParseException):
        return _unreadable(error.override)
    lines = (str(error).strip() or type(error).__name__).splitlines()
    first_line = lines[0].rstrip(".")
    if first_line.endswith("raised while composing config:") and lines[1:]:
        first_line = f"{first_line.partition(': ')[0]}: {lines[1].strip()}"
    cause = error.__cause__
    details = str(cause).strip().splitlines()[0] if isinstance(cause, OmegaConfBaseException) else ""
    if ambiguous := re.fullmatch(r"Ambiguous value for argument '(.+)'", first_line):
        as_text = _as_one_text(ambiguous[1], "for one text with a comma")
        return f"{first_line}; to try one value after the other add --multirun, for a list write key=[a,b]{as_text}"
    unknown = re.match(r"Key '(.+)' not in '(\w+)'", details)
    if unknown and (schema := getattr(config, unknown[2], None)):
        names = [field.name for field in fields(schema) if not field.name.startswith("_")]
        return f"there is no setting {_quoted(first_line) or repr(unknown[1])}{nearest(unknown[1], names)}"
    way_out = ""
    if merged := re.fullmatch(r"Error merging override (.+)", first_line):
        way_out = _as_one_text(merged[1], "to have it as text") if "to string" in details else ""
    elif isinstance(error, InterpolationKeyError) or isinstance(cause, InterpolationKeyError):
        typed = next((one for one in sys.argv[1:] if "${" in one), "")
        way_out = _as_one_text(typed, "to have ${ as text")
    return (f"{first_line}: {details}" if details else first_line) + way_out


def _unreadable(argument: str) -> str:
    """Return what is said of an argument that Hydra's parser does not take."""
    told = f"cannot read the argument {argument!r}; settings are written key=value"
    if typed := quoting.as_one_text(argument, hydra_limits.read_value):
        return f"{told}, and this value with quotes, since some of its characters have a meaning: {typed}"
    return f"{told}, and nothing else is taken"


def _as_one_text(argument: str, purpose: str) -> str:
    typed = quoting.as_one_text(argument, hydra_limits.read_value)
    return f"; {purpose} write {typed}" if typed else ""


def _quoted(text: str) -> str | None:
    found = re.search(r"'([^']+)'", text)
    return repr(found[1]) if found else None
