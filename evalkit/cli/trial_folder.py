"""The folder of one trial of a sweep: its number, and what it has that differs from the other trials."""

import re
from collections.abc import Iterable

from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import DictConfig, OmegaConf

from evalkit.boundary import redaction
from evalkit.cli.describe import GROUPS

_LONGEST_VALUE = 40
"""Characters."""
_LONGEST = 200
"""Bytes in UTF-8; most file systems take 255."""


def name(number: int, overrides: Iterable[str], common: Iterable[str]) -> str:
    """Return the name of a trial's folder, such as ``0-minilm_l6-depth_20``.

    It can be typed in a command as it is: ``=`` and ``,`` have a meaning for Hydra, so it has neither. A choice of
    a group stands by itself, a setting with its name; of a path its last part is left.

    Args:
        number: number of the trial, from 0.
        overrides: settings of the trial, each ``key=value``.
        common: keys that are the same in all trials.
    """
    same = set(common)
    given = (redaction.command([one])[0].partition("=") for one in overrides)
    parts = [_part(key.lstrip("+~"), value) for key, _, value in given if key.lstrip("+~") not in same]
    whole = "-".join([str(number), *filter(None, parts)])
    return whole.encode()[:_LONGEST].decode(errors="ignore").rstrip("-_.")


def _part(key: str, value: str) -> str:
    shown = re.sub(r"[^\w.+-]+", "_", re.split(r"[/\\]", value.rstrip("/\\\"'"))[-1]).strip("_.")[:_LONGEST_VALUE]
    return shown if key.partition("@")[0] in GROUPS else f"{key.rpartition('.')[2]}_{shown}"


def note_common(config: DictConfig, given: Iterable[str]) -> None:
    """Note in the configuration of a sweep which settings are common to its trials, for `name`.

    The place is Hydra's own for this, ``hydra.job.config.override_dirname.exclude_keys``: it reaches trials of every
    launcher.

    Args:
        config: of the sweep; an override is added for its trials.
        given: the overrides of the sweep, those with several values included.

    Raises:
        HydraException: one is not an override.
    """
    if "trial_folder" not in str(OmegaConf.to_container(config.hydra.sweep, resolve=False)):
        return  # a user's own name for the folders
    kinds = {one.key_or_group: one.is_sweep_override() for one in OverridesParser.create().parse_overrides(list(given))}
    common = ",".join(f"'{key}'" for key, differs in kinds.items() if not differs)
    config.hydra.overrides.hydra.append(f"hydra.job.config.override_dirname.exclude_keys=[{common}]")


# Hydra resolves the name in the process that a launcher has started, where nothing but the job's module is imported.
OmegaConf.register_new_resolver("trial_folder", name, replace=True)
