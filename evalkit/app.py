"""The command line: the one file that knows Hydra. It composes, checks, hands on, and sets exit codes."""

import json
import os
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any, NoReturn

import hydra
from hydra.core.config_store import ConfigStore
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException, MissingConfigException
from hydra.experimental.callback import Callback
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from evalkit import provenance
from evalkit.config import SCHEMAS, conf_dir
from evalkit.errors import EvalkitError, nearest
from evalkit.progress import say

BAD_INPUT, INTERRUPTED = 2, 130
_TASKS = ("trial", "quickcheck")
_failures: list[str] = []
"""Trials of a sweep that failed; the sweep goes on without them and ends with exit code 1."""


def main() -> None:
    """Run the command line and exit: 0 done, 1 a trial of a sweep failed, 2 bad input, 130 interrupted."""
    wants_traceback = os.environ.get("HYDRA_FULL_ERROR") == "1"
    os.environ["HYDRA_FULL_ERROR"] = "1"  # let errors come through to here instead of being printed by Hydra
    for (group, name), schema in SCHEMAS.items():
        ConfigStore.instance().store(group=group, name=name, node=schema)
    compose = hydra.main(config_path=str(conf_dir()), config_name="config", version_base="1.3")
    try:
        compose(_job)()
    except KeyboardInterrupt:
        say("evalkit: interrupted; the folders of finished trials stay")
        sys.exit(INTERRUPTED)
    except (EvalkitError, HydraException, OmegaConfBaseException, OSError) as error:
        if wants_traceback:
            raise
        _fail(error)
    sys.exit(1 if _failures else 0)


def _fail(error: Exception) -> NoReturn:
    say(f"evalkit: {_sentence(error)}")
    sys.exit(BAD_INPUT)


def _job(cfg: DictConfig) -> None:
    from evalkit import jobs
    from evalkit.report import folder as results
    from evalkit.report import terminal
    from evalkit.report.result import failed
    from evalkit.worker import in_fresh_process

    sweeping = HydraConfig.get().mode == RunMode.MULTIRUN
    folder = Path(HydraConfig.get().runtime.output_dir)
    asked = _asked(cfg)
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
            results.write_result(failed(asked["name"], asked, facts, str(error)), folder)
        if not sweeping:
            raise
        say(f"evalkit: {error}")
        _failures.append(str(error))
        return
    terminal.show(result, str(folder))


class SweepReport(Callback):
    """Writes the combined report when a sweep ends."""

    def on_multirun_end(self, config: DictConfig, **kwargs: Any) -> None:
        """Collect the result of each trial in the order of the sweep."""
        from evalkit.report import terminal
        from evalkit.report.folder import write_sweep

        folder = Path(config.hydra.sweep.dir)
        found = [json.loads(path.read_text("utf-8")) for path in sorted(folder.glob("*/result.json"))]
        if found:
            write_sweep(found, folder)
            terminal.show_sweep(found, str(folder))


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
    if (folder / "result.json").exists() and not overwrite:
        raise EvalkitError(
            f"{folder} holds a result already; name another folder with out_dir=DIR, or replace it with overwrite=true"
        )
    (folder / "result.json").unlink(missing_ok=True)


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
        return f"{error.strerror or error}: {error.filename}" if error.filename else str(error)
    cause = error.__cause__ if isinstance(error.__cause__, OmegaConfBaseException) else error
    key, parent = getattr(cause, "key", None), getattr(cause, "parent_node", None)
    first_line = str(error).strip().splitlines()[0]
    if isinstance(parent, DictConfig) and key is not None and "is not in struct" in str(cause):
        names = [str(name) for name in parent if not str(name).startswith("_")]
        return f"there is no setting {getattr(cause, 'full_key', None) or key}{nearest(str(key), names)}"
    if "Could not override" in first_line and "No match in the defaults list" in str(error):
        group = first_line.split("'")[1]
        return f"there is no group {group!r}{nearest(group, [p.name for p in conf_dir().iterdir() if p.is_dir()])}"
    details = str(cause).strip().splitlines()[0]
    return first_line if details in first_line else f"{first_line}: {details}"
