"""The composed configuration as plain values: checked, and for callers in Python composed as for the command line."""

import math
from collections.abc import Iterator, Sequence
from typing import Any

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.utils import setup_globals
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf, open_dict, read_write
from omegaconf.errors import OmegaConfBaseException

from evalkit.boundary.errors import EvalkitError, nearest
from evalkit.cli import fusion_members, hydra_limits
from evalkit.cli.config import conf_dir, register_schemas
from evalkit.cli.messages import sentence

TASKS = ("trial", "quickcheck", "gate")
_OF_QUICKCHECK = ("query", "passages")
"""Settings of the task quickcheck alone."""


def settings(overrides: Sequence[str]) -> dict[str, Any]:
    """Return the settings that the command line would run a trial with.

    Args:
        overrides: as on the command line, such as ``slice=dev`` and ``reranker.max_length=256``.

    Raises:
        EvalkitError: as for `plain`, it cannot be composed, holds something that it may not, or is no single trial.
    """
    register_schemas()
    setup_globals()
    hydra_config = HydraConfig.instance()
    before = hydra_config.cfg
    try:
        with hydra_limits.in_force():
            hydra_limits.note_command_line(overrides)
            cfg = hydra_limits.composed(overrides)
            hydra_config.set_config(cfg)
            sweeps = cfg.hydra.mode == RunMode.MULTIRUN
            with read_write(cfg), open_dict(cfg):
                del cfg["hydra"]
            fusion_members.expand(cfg)
            found = plain(cfg)
    except (HydraException, OmegaConfBaseException) as error:
        raise EvalkitError(sentence(error)) from None
    finally:
        hydra_config.cfg = before
    if sweeps or found["task"] != "trial":
        what = "is a sweep of several trials" if sweeps else f"has task={found['task']}"
        raise EvalkitError(
            f"{' '.join(overrides)}: this {what}, and one trial is run here; python -m evalkit runs all of it"
        )
    return found


def gate_settings(overrides: list[str]) -> dict[str, Any]:
    """Return the group ``gate`` alone, for the commands that run no trial.

    Args:
        overrides: as for `settings`.
    """
    register_schemas()
    hydra_limits.note_command_line(overrides)
    with hydra.initialize_config_dir(str(conf_dir()), version_base="1.3"):
        settings = OmegaConf.to_container(hydra.compose("config", overrides).gate, resolve=True)
    assert isinstance(settings, dict)
    return {str(key): value for key, value in settings.items()}


def limits_of_ci() -> dict[str, Any]:
    """Return what experiment=ci sets of the group ``gate``."""
    packaged = OmegaConf.to_container(OmegaConf.load(conf_dir() / "experiment" / "ci.yaml"))
    assert isinstance(packaged, dict)
    return dict(packaged["gate"])


def plain(cfg: DictConfig) -> dict[str, Any]:
    """Return a resolved configuration as a plain dictionary.

    Args:
        cfg: the composed configuration, without Hydra's own part.

    Raises:
        EvalkitError: a required value is missing, a number is not finite, the task is unknown, it takes no texts, or
            the time limit is not above 0.
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
    if asked["task"] not in TASKS:
        raise EvalkitError(f"task={asked['task']}: no such task{nearest(str(asked['task']), TASKS)}")
    if asked["task"] != "quickcheck":
        given = [key for key in _OF_QUICKCHECK if asked.pop(key) is not None]
        if given:
            raise EvalkitError(
                f"{' and '.join(given)}: only the quick check takes texts of your own; add experiment=quickcheck to "
                "the command"
            )
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
