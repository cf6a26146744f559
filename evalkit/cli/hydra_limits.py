"""Checks what a configuration gives Hydra before Hydra acts on it: the one file that patches Hydra's internals.

Once Hydra has composed a configuration, and before it calls the job, it opens logs, builds callbacks, a sweeper and a
launcher, and makes folders; while it composes, it reads other folders and imports packages that the configuration
names. Its public interface has no switch for any of this, so its loader is wrapped here. A Hydra with other internals
than those known here is refused: without these checks a configuration could run code.
"""

import copy
import inspect
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache, wraps
from pathlib import Path
from typing import Any

import hydra
from hydra._internal import utils as hydra_utils
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra._internal.config_repository import ConfigRepository
from hydra.core.config_search_path import SearchPathQuery
from hydra.core.hydra_config import HydraConfig
from hydra.core.object_type import ObjectType
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf, open_dict, read_write
from omegaconf.base import Container
from omegaconf.errors import InterpolationResolutionError, OmegaConfBaseException
from omegaconf.resolvers import oc

from evalkit.boundary import redaction
from evalkit.boundary.errors import EvalkitError
from evalkit.boundary.text import user_path
from evalkit.cli import hydra_allowed, quoting, verbatim, written_paths, yaml_size
from evalkit.cli.config import conf_dir
from evalkit.cli.instantiate import check_hydra
from evalkit.scoring.cluster.settings import check_launcher

READ_FROM_ENVIRONMENT = ("EVALKIT_STORE", "EVALKIT_HISTORY", "EVALKIT_FIRST_STAGE_CACHE", "RAY_ADDRESS")
"""The variables that ``${oc.env:...}`` can read."""
_MOST_INTERPOLATIONS = 5_000
"""The most interpolations that are resolved for one configuration; the largest of evalkit's own takes some hundreds."""
_MOST_CHARACTERS = 10_000_000
"""The most characters that their values may have in total."""

_KNOWN: tuple[tuple[Any, str, tuple[str, ...]], ...] = (
    (ConfigLoaderImpl, "load_configuration",
     ("self", "config_name", "overrides", "run_mode", "from_shell", "validate_sweep_overrides")),
    (ConfigLoaderImpl, "get_sources", ("self",)),
    (ConfigLoaderImpl, "_process_config_searchpath", ("self", "config_name", "parsed_overrides", "repo")),
    (ConfigRepository, "load_config", ("self", "config_path")),
    (OverridesParser, "parse_overrides", ("self", "overrides")),
    (ConfigRepository, "_find_object_source", ("self", "config_path", "object_type")),
    (OmegaConf, "save", ("config", "f", "resolve")),
    (Container, "resolve_parse_tree", ("self", "parse_tree", "node", "memo", "key")),
    (hydra_utils, "create_config_search_path", ("search_path_dir",)),
)  # fmt: skip
"""Every internal of Hydra and OmegaConf that is wrapped or called below, with its parameters."""

_MODES = ("hydra.mode=RUN", "hydra.mode=MULTIRUN")
_load = ConfigLoaderImpl.load_configuration
"""Hydra's own function, which composes without the checks."""
_is_in_force = False
_typed: frozenset[str] = frozenset()
"""The keys of the settings on the command line."""
_typed_values: frozenset[str] = frozenset()
"""Their values."""
_interpolations = _characters = 0


@contextmanager
def in_force() -> Iterator[None]:
    """Check every configuration that Hydra composes in the block.

    Raises:
        EvalkitError: the internals of this version of Hydra are not known here.
    """
    global _is_in_force
    for place, name, parameters in _KNOWN:
        found = getattr(place, name, None)
        if found is None or tuple(inspect.signature(found).parameters) != parameters:
            raise EvalkitError(
                f"Hydra {hydra.__version__} has other internals than evalkit knows ({name}), so a configuration could "
                "make it run code; install a known version: pip install 'hydra-core>=1.3.2,<1.4' 'omegaconf<2.4'"
            )
    wrapped: tuple[tuple[Any, str, Any], ...] = (
        (ConfigLoaderImpl, "load_configuration", _checked(_load)),
        (ConfigLoaderImpl, "_process_config_searchpath", _no_search_path),
        (ConfigRepository, "load_config", _size_checked(_texts_restored(ConfigRepository.load_config))),
        (OverridesParser, "parse_overrides", _texts_quoted(OverridesParser.parse_overrides)),
        (Container, "resolve_parse_tree", _interpolations_limited(Container.resolve_parse_tree)),
        (OmegaConf, "save", staticmethod(_save_redacted)),
    )
    before = [(place, name, inspect.getattr_static(place, name)) for place, name, _ in wrapped]
    try:
        for place, name, ours in wrapped:
            setattr(place, name, ours)
        limit_resolvers()
        _is_in_force = True
        yield
    finally:
        _is_in_force = False
        for place, name, theirs in before:
            setattr(place, name, theirs)
        OmegaConf.register_new_resolver("oc.env", oc.env, replace=True)


def limit_resolvers() -> None:
    """Let ``${oc.env:...}`` read only the variables of `READ_FROM_ENVIRONMENT`, from now on."""
    OmegaConf.register_new_resolver("oc.env", _environment, replace=True)


def note_command_line(overrides: Sequence[str]) -> None:
    """Note the settings on the command line; all others come from files."""
    global _typed, _typed_values
    keys: set[str] = set()
    values: set[str] = set()
    for one in overrides:
        try:
            parsed = OverridesParser.create().parse_override(one)
        except Exception:  # noqa: S112 - Hydra reports what is wrong with it
            continue
        keys.add(str(parsed.key_or_group).removeprefix("/"))
        if parsed.is_sweep_override():
            values.update(str(value) for value in _choices(parsed))
        else:
            values.add(str(parsed.value()))
    _typed, _typed_values = frozenset(keys), frozenset(values)


def composed(overrides: Sequence[str], config_dir: Path | None = None) -> DictConfig:
    """Return a configuration as the command line would compose it, unresolved, without running anything.

    Args:
        overrides: such as ``slice=dev``.
        config_dir: the folder of ``--config-dir``.

    Raises:
        EvalkitError: it holds something for Hydra that it may not.
        HydraException: it cannot be composed.
    """
    search_path = hydra_utils.create_config_search_path(str(conf_dir()))
    if config_dir is not None:
        search_path.prepend("command-line", f"file://{config_dir}", SearchPathQuery(provider="schema"))  # as Hydra does
    loader = ConfigLoaderImpl(search_path)
    return loader.load_configuration("config", list(overrides), RunMode.RUN)


def read_value(argument: str) -> object:
    """Return the value that Hydra and OmegaConf read in ``key=value``.

    Raises:
        Exception: of many kinds, where they cannot read it.
    """
    return OmegaConf.create({"value": OverridesParser.create().parse_override(argument).value()}).value


def check_written(settings: Mapping[str, Any]) -> None:
    """Check where a trial writes files, if files of ``--config-dir`` were read; `settings` are resolved.

    Raises:
        EvalkitError: see `evalkit.cli.written_paths.check`.
    """
    if not _is_in_force or not _has_foreign_files(HydraConfig.get().runtime.config_sources):
        return  # in a launcher's process, whose parent has checked
    _check_paths({key: _at(settings, key) for key in written_paths.CHECKED})


def _at(settings: Any, dotted: str) -> object:
    for key in dotted.split("."):
        settings = settings.get(key) if isinstance(settings, Mapping) else None
    return settings


def has_packaged_out_dir(cfg: DictConfig) -> bool:
    """Return whether the folder of the results is the packaged default, which is named after the time in seconds."""
    raw = OmegaConf.to_container(cfg, resolve=False)
    assert isinstance(raw, dict)
    return raw.get("out_dir") is not None and raw["out_dir"] == _packaged_out_dir()


@cache
def _packaged_out_dir() -> str:
    packaged = OmegaConf.to_container(OmegaConf.load(conf_dir() / "config.yaml"), resolve=False)
    assert isinstance(packaged, dict)
    return str(packaged["out_dir"])


def _checked(load: Callable[..., DictConfig]) -> Callable[..., DictConfig]:
    @wraps(load)
    def load_and_check(self: ConfigLoaderImpl, *args: Any, **kwargs: Any) -> DictConfig:
        global _interpolations, _characters
        _interpolations = _characters = 0
        given = inspect.signature(load).bind(self, *args, **kwargs)
        given.apply_defaults()
        asks_for_mode = not given.arguments["validate_sweep_overrides"]
        if asks_for_mode and _leaves_mode_open(self, given.arguments["config_name"], given.arguments["overrides"]):
            return OmegaConf.create({"hydra": {"mode": None}})
        try:
            cfg = load(self, *args, **kwargs)
        except KeyError as error:
            if str(error.args[0]) in os.environ:
                raise
            raise hydra_allowed.refusal(("job", "env_copy"), str(error.args[0])) from None
        if asks_for_mode:
            # Hydra's first composition only finds out whether this is a sweep; it takes any error for a no.
            return cfg
        whole = OmegaConf.to_container(cfg, resolve=False)
        assert isinstance(whole, dict)
        part = whole.get("hydra")
        if isinstance(part, Mapping):
            check_hydra(part)
        name = given.arguments["config_name"]
        # A configuration of evalkit's own files alone need not be compared with the packaged one.
        if (
            not isinstance(part, dict)
            or _has_foreign_files(cfg.hydra.runtime.config_sources)
            or _sets_hydra(given.arguments["overrides"])
        ):
            hydra_allowed.check(part, _packaged(None if name is None else "config")["hydra"], _launcher, _typed)
        assert isinstance(part, dict)
        recorded = [*part["overrides"]["hydra"], *part["overrides"]["task"]]
        if sorted(map(str, recorded)) != sorted(verbatim.arguments(given.arguments["overrides"], read_value)):
            raise EvalkitError("hydra.overrides: this records the command line; a file cannot add to it")
        if cfg.hydra.mode == RunMode.MULTIRUN:
            check_launcher(str(part["launcher"]["_target_"]))
        if name is not None:
            _check_texts(cfg, given.arguments["overrides"])
            _expand_home(cfg)
            is_trial = given.arguments["run_mode"] == RunMode.RUN and cfg.hydra.mode == RunMode.MULTIRUN
            _check_places(cfg, is_trial)
        return cfg

    return load_and_check


def _leaves_mode_open(loader: ConfigLoaderImpl, config_name: str | None, overrides: Sequence[str]) -> bool:
    """Return whether nothing can set ``hydra.mode``, which need not be composed then: that takes half of a second.

    Of evalkit's own files only experiments have settings for Hydra that differ from those of config.yaml.
    """
    sources = loader.get_sources()
    return (
        config_name == "config"
        and {source.provider for source in sources} <= {"hydra", "main", "schema"}
        and not _has_foreign_files(sources)
        and not any(word in one.partition("=")[0] for one in overrides for word in ("hydra", "experiment", "_global_"))
    )


@cache
def _packaged(config_name: str | None, *overrides: str) -> dict[str, Any]:
    """Return a configuration, unresolved, composed of evalkit's, Hydra's and its installed plugins' files alone."""
    loader = ConfigLoaderImpl(hydra_utils.create_config_search_path(str(conf_dir())))
    cfg = _load(loader, config_name, list(overrides), RunMode.RUN)
    found = OmegaConf.to_container(cfg, resolve=False)
    assert isinstance(found, dict)
    return {str(key): value for key, value in found.items()}


def _launcher(name: str) -> dict[str, Any]:
    try:
        found: dict[str, Any] = _packaged("config", f"hydra/launcher={name}")["hydra"]["launcher"]
    except HydraException:  # its plugin is not installed
        return {}
    return found


def _check_texts(cfg: DictConfig, overrides: Sequence[str]) -> None:
    """Refuse a text that is read as a number and so changed, as ``007`` to 7 and ``1e3`` to 1000.0."""
    for one in verbatim.arguments(overrides, read_value):
        parsed = OverridesParser.create().parse_override(one)
        written = one.partition("=")[2].strip()
        if parsed.is_sweep_override() or not isinstance(value := parsed.value(), bool | int | float):
            continue
        found = _at(OmegaConf.to_container(cfg, resolve=False), str(parsed.key_or_group))
        if isinstance(found, str) and found == str(value) != written:
            typed = quoting.as_one_text(one, read_value)
            raise EvalkitError(f"{one}: this text would be read as the number or boolean {found}; write {typed}")


def _expand_home(cfg: DictConfig) -> None:
    """Replace ``~`` by the user's home: Hydra would make a folder of that name."""
    raw = OmegaConf.to_container(cfg, resolve=False)
    assert isinstance(raw, dict)
    if isinstance(raw.get("out_dir"), str) and raw["out_dir"].startswith("~"):
        with read_write(cfg), open_dict(cfg):
            cfg.out_dir = str(user_path(raw["out_dir"]))


def _check_places(cfg: DictConfig, is_trial: bool) -> None:
    """Check where files will be written, as far as is known before the job.

    Args:
        cfg: the composed configuration.
        is_trial: whether it is that of one trial of a sweep.
    """
    numbered = copy.deepcopy(cfg)
    with read_write(numbered), open_dict(numbered):
        numbered.hydra.job.num, numbered.hydra.job.id = 0, "0"
    if cfg.hydra.mode == RunMode.MULTIRUN:
        with hydra_config(numbered):
            if (subdir := _resolved(numbered, "hydra.sweep.subdir")) is not None:
                hydra_allowed.check_subdir(str(subdir))
    with hydra_config(numbered):
        folder = _resolved(numbered, "hydra.sweep.dir" if is_trial else "hydra.run.dir")
    if "${" in str(folder):
        raise EvalkitError(
            f"out_dir={folder}: Hydra cannot write to a folder with ${{ in its name; name another one with out_dir=DIR"
        )
    if _has_foreign_files(cfg.hydra.runtime.config_sources):
        of = numbered if is_trial else copy.deepcopy(cfg)
        with hydra_config(of):
            keys = written_paths.CHECKED
            _check_paths({key: _resolved(of, key) for key in keys})


def _check_paths(settings: Mapping[str, object]) -> None:
    ours = {os.environ[name] for name in READ_FROM_ENVIRONMENT if name in os.environ}
    homes = {str(user_path(value)) for value in _typed_values if value.startswith("~")}
    written_paths.check(settings, _typed_values | ours | homes, Path.cwd())


def _sets_hydra(overrides: Sequence[str]) -> bool:
    """Return whether an argument sets or chooses anything of Hydra's own but the mode, which Hydra adds by itself."""
    return any("hydra" in one.partition("=")[0] for one in overrides if one not in _MODES)


def _has_foreign_files(sources: Any) -> bool:
    """Return whether files of another folder than evalkit's own were read."""
    own = str(conf_dir())
    return any(
        source.provider == "command-line" or (source.provider == "main" and source.path != own) for source in sources
    )


@contextmanager
def hydra_config(cfg: DictConfig) -> Iterator[None]:
    """Resolve ``${hydra:...}`` in `cfg` while the block runs."""
    instance = HydraConfig.instance()
    before, instance.cfg = instance.cfg, cfg  # type: ignore[assignment]
    try:
        yield
    finally:
        instance.cfg = before


def _resolved(cfg: DictConfig, key: str) -> object:
    """Return a setting; None where it does not exist, or is not known before the job."""
    try:
        return OmegaConf.select(cfg, key)
    except OmegaConfBaseException:  # reported where it is needed
        return None


def _no_search_path(self: ConfigLoaderImpl, config_name: str | None, parsed_overrides: Any, repo: Any) -> None:
    """Refuse ``hydra.searchpath``, in place of Hydra's function, which would read those folders and import packages."""
    wanted = any(one.get_key_element().lstrip("+~") == "hydra.searchpath" for one in parsed_overrides)
    if config_name is not None and not wanted:
        loaded = repo.load_config(config_path=config_name)
        primary = None if loaded is None else loaded.config
        wanted = isinstance(primary, DictConfig) and bool(OmegaConf.select(primary, "hydra.searchpath"))
    if wanted:
        raise EvalkitError(
            "hydra.searchpath: a configuration cannot name other folders or packages to read; name the folder with "
            "--config-dir DIR"
        )


def _texts_quoted(parse: Callable[..., Any]) -> Callable[..., Any]:
    """Quote arguments that are texts, so that they are read as typed: see `evalkit.cli.verbatim`."""

    @wraps(parse)
    def parse_overrides(self: OverridesParser, overrides: Sequence[str]) -> Any:
        return parse(self, verbatim.arguments(overrides, read_value))

    return parse_overrides


def _texts_restored(load: Callable[..., Any]) -> Callable[..., Any]:
    """Restore the characters of texts in YAML files: see `evalkit.cli.verbatim`."""

    @wraps(load)
    def load_config(self: ConfigRepository, config_path: str) -> Any:
        result = load(self, config_path)
        folder = result.path.removeprefix("file://") if result and result.path.startswith("file://") else None
        if result and folder and isinstance(result.config, DictConfig):
            group, _, name = config_path.removesuffix(".yaml").rpartition("/")
            package = result.header.get("package") or "_group_"
            place = {"_global_": "", "_group_": group.replace("/", ".")}.get(package, package)
            for (*above, key), typed in verbatim.restored(Path(folder, group, f"{name}.yaml"), place):
                node: Any = result.config
                for step in above:
                    node = node[step]
                node[key] = typed
        return result

    return load_config


def _size_checked(load: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(load)
    def load_config(self: ConfigRepository, config_path: str) -> Any:
        source = self._find_object_source(config_path=config_path, object_type=ObjectType.CONFIG)
        if source is not None and source.scheme() == "file":
            yaml_size.check(Path(source.path, source._normalize_file_name(config_path)))
        return load(self, config_path)

    return load_config


def _interpolations_limited(resolve: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(resolve)
    def resolve_parse_tree(self: Container, *args: Any, **kwargs: Any) -> Any:
        global _interpolations, _characters
        _interpolations += 1
        if _interpolations <= _MOST_INTERPOLATIONS:
            found = resolve(self, *args, **kwargs)
            value = found._value() if hasattr(found, "_value") else found
            _characters += len(value) if isinstance(value, str) else 0
            if _characters <= _MOST_CHARACTERS:
                return found
        raise InterpolationResolutionError(
            "the configuration has so many references (${...}) that it would be of enormous size; write the values "
            "where they are needed"
        )

    return resolve_parse_tree


def _save_redacted(config: Any, f: Any, resolve: bool = False) -> None:
    """Write multirun.yaml and a sweeper's results without secrets, in place of OmegaConf's function, that is called."""
    whole = OmegaConf.to_container(config, resolve=resolve)
    assert isinstance(whole, dict)
    if part := whole.get("hydra"):
        part["overrides"] = {kind: redaction.command(given) for kind, given in part["overrides"].items()}
        part["job"]["override_dirname"] = ",".join(redaction.command([str(part["job"]["override_dirname"])]))
    Path(f).write_text(OmegaConf.to_yaml(OmegaConf.create(redaction.settings(whole))), "utf-8")


def _environment(key: str, *default: Any) -> Any:
    """Resolve ``${oc.env:KEY}`` for known variables: others may hold secrets, and the value gets into the result."""
    if key not in READ_FROM_ENVIRONMENT:
        raise InterpolationResolutionError(
            f"${{oc.env:{key}}}: a configuration can read {', '.join(READ_FROM_ENVIRONMENT)} from the environment; "
            f'add the setting to the command, where the shell inserts it: key="${key}"'
        )
    return oc.env(key, *default)


def _choices(parsed: Any) -> list[Any]:
    try:
        return list(parsed.sweep_iterator())
    except (HydraException, TypeError, ValueError):
        return []
