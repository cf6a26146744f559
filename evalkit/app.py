"""The command line: the one file that knows Hydra. It composes, checks, hands on, and sets exit codes."""

import io
import json
import os
import re
import sys
from contextlib import suppress
from dataclasses import fields
from pathlib import Path
from typing import Any

import hydra
from hydra.core.config_store import ConfigStore
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException, MissingConfigException, OverrideParseException
from hydra.experimental.callback import Callback
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from evalkit import commands, config, provenance
from evalkit.config import SCHEMAS, conf_dir
from evalkit.errors import EvalkitError, NotFiniteError, nearest
from evalkit.progress import say

FAILED, BAD_INPUT, INTERRUPTED = 1, 2, 130
_TASKS = ("trial", "quickcheck", "gate")
_exit_code = 0
"""Set by a trial or a gate that failed; a sweep goes on without it."""
_wants_traceback = False
"""Set where the user asked for it with HYDRA_FULL_ERROR=1."""


def main() -> None:
    """Run the command line and exit: 0 done, 1 a gate or a trial of a sweep failed, 2 bad input, 130 interrupted."""
    global _wants_traceback
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # texts may hold what the terminal's encoding cannot
    _wants_traceback = os.environ.get("HYDRA_FULL_ERROR") == "1"
    os.environ["HYDRA_FULL_ERROR"] = "1"  # let errors come through to here instead of being printed by Hydra
    for (group, name), schema in SCHEMAS.items():
        ConfigStore.instance().store(group=group, name=name, node=schema)
    compose = hydra.main(config_path=str(conf_dir()), config_name="config", version_base="1.3")
    try:
        if sys.argv[1:2] and sys.argv[1] in commands.NAMES:
            sys.exit(commands.run(sys.argv[1:], _gate_settings))
        compose(_job)()
    except KeyboardInterrupt:
        say("evalkit: interrupted; the folders of finished trials stay")
        sys.exit(INTERRUPTED)
    except (EvalkitError, HydraException, OmegaConfBaseException, OSError) as error:
        if _wants_traceback:
            raise
        say(f"evalkit: {_sentence(error)}")
        sys.exit(BAD_INPUT)
    sys.exit(_exit_code)


def _job(cfg: DictConfig) -> None:
    """Run one trial. Errors are told here: raised through Hydra, they would be told twice."""
    global _exit_code
    try:
        _run(cfg)
    except (EvalkitError, OmegaConfBaseException, OSError) as error:
        if _wants_traceback:
            raise
        say(f"evalkit: {_sentence(error)}")
        _exit_code = FAILED if HydraConfig.get().mode == RunMode.MULTIRUN else BAD_INPUT


def _run(cfg: DictConfig) -> None:
    from evalkit import jobs
    from evalkit.report import folder as results
    from evalkit.report import terminal
    from evalkit.report.result import failed
    from evalkit.worker import in_fresh_process

    global _exit_code
    folder = Path(HydraConfig.get().runtime.output_dir)
    asked = _asked(cfg)
    gate = commands.Gate.of(asked["gate"]) if asked["task"] == "gate" else None
    facts = provenance.collect(provenance.command_line())
    _claim(folder, bool(cfg.overwrite))
    try:
        OmegaConf.save(OmegaConf.create(asked), folder / "config.yaml")
    except OSError as error:
        raise results.cannot_write(folder, error) from None
    if asked["task"] == "quickcheck":
        found = in_fresh_process(jobs.run_quickcheck, asked)
        (folder / "quickcheck.json").write_text(json.dumps(found, indent=1, ensure_ascii=False) + "\n", "utf-8")
        terminal.show_quickcheck(found)
        if not found["batch_and_single_agree"]:
            raise EvalkitError("batch and single scores disagree, so padding leaks into the scores of this model")
        return
    say(f"{asked['name']}: {_choices()}")
    try:
        result = in_fresh_process(jobs.run_trial, asked, facts, folder)
    except EvalkitError as error:
        with suppress(OSError):  # then the error itself says that the folder cannot be written
            results.write_result(failed(asked["name"], asked, facts, error), folder)
        if not gate or not isinstance(error, NotFiniteError):
            raise
    else:
        terminal.show(result, str(folder))
    if gate:
        _exit_code = max(_exit_code, gate.run(folder))


def _gate_settings(overrides: list[str]) -> dict[str, Any]:
    """Compose the gate's settings alone, for the commands that run no trial."""
    with hydra.initialize_config_dir(str(conf_dir()), version_base="1.3"):
        settings = OmegaConf.to_container(hydra.compose("config", overrides).gate, resolve=True)
    assert isinstance(settings, dict)
    return {str(key): value for key, value in settings.items()}


class SweepReport(Callback):
    """Writes the combined report when a sweep ends."""

    def on_multirun_end(self, config: DictConfig, **kwargs: Any) -> None:
        """Collect the result of each trial in the order of the sweep, and compare those of one slice."""
        from evalkit import compare
        from evalkit.report import reading, terminal
        from evalkit.report.folder import write_comparison, write_sweep

        folder = Path(config.hydra.sweep.dir)
        paths = sorted(folder.glob("*-*/result.json"), key=lambda path: int(path.parent.name.split("-")[0]))
        found = [reading.read_json(path, "a result of evalkit") for path in paths]
        if not found:
            return
        write_sweep(found, folder)
        terminal.show_sweep(found, str(folder))
        done = [path.parent for path, result in zip(paths, found) if result["status"] == "finished"]
        if len(done) > 1:
            try:
                compared = compare.side_by_side([reading.read(where) for where in done])
            except EvalkitError as why:
                say(f"the trials are not compared with one another: {why}")
                return
            write_comparison(compared, folder / "comparison")
            terminal.show_comparison(compared, str(folder / "comparison"))


def _asked(cfg: DictConfig) -> dict[str, Any]:
    """Return the resolved configuration as a plain dictionary.

    Raises:
        EvalkitError: a required value is missing, or the task is unknown.
    """
    missing = sorted(OmegaConf.missing_keys(cfg))
    if missing:
        examples = " ".join(f"{key}=..." for key in missing)
        raise EvalkitError(f"{', '.join(missing)} must be given: add {examples} to the command")
    asked = OmegaConf.to_container(cfg, resolve=True)
    assert isinstance(asked, dict)
    if asked["task"] not in _TASKS:
        raise EvalkitError(f"task={asked['task']}: no such task{nearest(str(asked['task']), _TASKS)}")
    return {str(key): value for key, value in asked.items()}


def _claim(folder: Path, overwrite: bool) -> None:
    """Refuse to write over a finished result unless told to."""
    if _holds_a_result(folder / "result.json") and not overwrite:
        raise EvalkitError(
            f"{folder} holds a result already; name another folder with out_dir=DIR, or replace it with overwrite=true"
        )
    (folder / "result.json").unlink(missing_ok=True)


def _holds_a_result(path: Path) -> bool:
    """Return whether there is a result worth keeping: any but that of a failed trial."""
    if not path.exists():
        return False
    try:
        return bool(json.loads(path.read_text("utf-8"))["status"] != "failed")
    except (ValueError, KeyError, TypeError):
        return True  # not ours, or broken: not for us to delete


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
    if isinstance(error, OSError):
        where = f" ({error.filename})" if error.filename else ""
        return f"cannot write the results{where}: {error.strerror or error}; name another folder with out_dir=DIR"
    if isinstance(error, OverrideParseException):
        return f"cannot read the argument {error.override!r}; settings are written key=value, and nothing else is taken"
    first_line = str(error).strip().splitlines()[0].rstrip(".")
    cause = error.__cause__
    details = str(cause).strip().splitlines()[0] if isinstance(cause, OmegaConfBaseException) else ""
    unknown = re.match(r"Key '(.+)' not in '(\w+)'", details)
    if unknown and (schema := getattr(config, unknown[2], None)):
        names = [field.name for field in fields(schema) if not field.name.startswith("_")]
        return f"there is no setting {_quoted(first_line) or repr(unknown[1])}{nearest(unknown[1], names)}"
    return f"{first_line}: {details}" if details else first_line


def _quoted(text: str) -> str | None:
    found = re.search(r"'([^']+)'", text)
    return repr(found[1]) if found else None
