"""The members of a fusion, from the short form of the command line to the full settings of first stages.

A member is the name of a choice of the group ``first_stage``, or a mapping from that name to what is set of it: the
value of the one setting that it requires (``{trec_run: FILE}``), or several settings (``{bm25: {k1: 1.2}}``).
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf, open_dict, read_write
from omegaconf.errors import OmegaConfBaseException

from evalkit.boundary.errors import EvalkitError, nearest
from evalkit.boundary.text import quoted
from evalkit.cli import describe, hydra_limits
from evalkit.cli.config import FusionFirstStage

_FORM = "a member is a name (bm25), or a name with its settings ({bm25: {k1: 1.2}}, {trec_run: FILE})"


def expand(cfg: DictConfig) -> None:
    """Replace the members of the first stage, if it is a fusion, by their full settings; references stay unresolved.

    Args:
        cfg: the composed configuration of a trial, which is changed.

    Raises:
        EvalkitError: a member has another form, there is no such first stage, or it does not take these settings.
    """
    first_stage = OmegaConf.to_container(cfg, resolve=False)["first_stage"]  # type: ignore[index,call-overload]
    if not isinstance(first_stage, Mapping) or first_stage.get("_target_") != FusionFirstStage._target_:
        return
    members = first_stage["of"]
    if not isinstance(members, list):  # ???: reported with all else that is missing
        return
    folder = _config_dir()
    with read_write(cfg), open_dict(cfg):
        cfg.first_stage.of = [_checked(_expanded(member, folder), cfg.first_stage_cache) for member in members]


def _checked(member: dict[str, Any], cache: str) -> dict[str, Any]:
    """Return a member whose cache is that of the trial, whose folder has been checked; refuse another one."""
    if member.get("cache", cache) not in (cache, "${first_stage_cache}"):
        raise EvalkitError(
            f"first_stage.of: a member has cache={quoted(member['cache'])}, and all members have that of the trial; "
            "set first_stage_cache instead"
        )
    return member


def _config_dir() -> Path | None:
    """Return the folder of ``--config-dir``."""
    sources = HydraConfig.get().runtime.config_sources
    return next((Path(source.path) for source in sources if source.provider == "command-line"), None)


def _expanded(member: object, config_dir: Path | None) -> dict[str, Any]:
    if isinstance(member, Mapping) and "_target_" in member:  # as the config.yaml of a result has it
        return {str(key): value for key, value in member.items()}
    named: object = {member: {}} if isinstance(member, str) else member
    if not isinstance(named, Mapping) or len(named) != 1:
        raise EvalkitError(f"first_stage.of: {quoted(member)} is no member; {_FORM}")
    ((name, given),) = named.items()
    try:
        describe.choice("first_stage", str(name), config_dir)
    except EvalkitError as error:
        raise EvalkitError(f"first_stage.of: {error}") from None
    node = hydra_limits.composed([f"first_stage={name}"], config_dir).first_stage
    if node.get("_target_") == FusionFirstStage._target_:
        raise EvalkitError("first_stage.of: a fusion cannot be a member of a fusion; name its members instead")
    required = [str(key) for key in node if OmegaConf.is_missing(node, key)]
    if given is None or isinstance(given, list):
        raise EvalkitError(f"first_stage.of: {name} has {'null' if given is None else 'a list'} as settings; {_FORM}")
    if not isinstance(given, Mapping):
        if len(required) != 1:
            raise EvalkitError(
                f"first_stage.of: {name} requires no setting, so {quoted(given)} needs the name of one: "
                f"{{{name}: {{SETTING: {given}}}}}"
            )
        given = {required[0]: given}
    settings = [str(key) for key in node if not str(key).startswith("_")]
    if unknown := [str(key) for key in given if key not in settings]:
        raise EvalkitError(f"first_stage.of: {name} has no setting {unknown[0]!r}{nearest(unknown[0], settings)}")
    try:
        whole = OmegaConf.merge(node, given)
    except OmegaConfBaseException as error:
        raise EvalkitError(f"first_stage.of: {name}: {str(error).splitlines()[0]}") from None
    if missing := [str(key) for key in whole if OmegaConf.is_missing(whole, key)]:
        raise EvalkitError(
            f"first_stage.of: {name} requires {', '.join(missing)}: write {{{name}: "
            + (f"{missing[0].upper()}}}" if len(missing) == 1 else "{SETTING: VALUE, ...}}")
        )
    found = OmegaConf.to_container(whole, resolve=False)
    assert isinstance(found, dict)
    return {str(key): value for key, value in found.items()}
