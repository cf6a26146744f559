"""The allow-list of Hydra's own settings: all others have to be as evalkit packages them.

The part ``hydra`` of a configuration can set environment variables, open any file as a log, read other folders, and
pass lines of shell to a cluster. evalkit needs little of that. What is not listed here cannot be changed, neither by
a file nor by the command line; some settings can be changed by the command line only.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from evalkit.boundary.errors import EvalkitError
from evalkit.boundary.text import quoted
from evalkit.cli import optuna_sweeper
from evalkit.cli.instantiate import ALLOW, is_allowed

Path = tuple[str, ...]

_ANYWHERE: tuple[Path, ...] = (
    ("mode",),
    ("sweep", "subdir"),
    ("sweeper", "max_batch_size"),
    ("job", "config", "override_dirname"),
)
"""What files and the command line may set; for ``sweeper.params`` and ``launcher`` see below."""
_TYPED: tuple[Path, ...] = (("run", "dir"), ("sweep", "dir"), ("verbose",))
"""What only the command line may set."""
_BY_HYDRA: tuple[Path, ...] = (
    ("overrides",), ("runtime",), ("job", "override_dirname"), ("job", "config_name"), ("job", "num"), ("job", "id"),
)  # fmt: skip
"""What Hydra fills in itself, after the files and the command line."""
_BY_THEMSELVES = ("callbacks", "sweeper", "launcher")
"""Parts with rules of their own, below."""

LAUNCHERS: dict[str, tuple[str, frozenset[Path]]] = {
    "hydra._internal.core_plugins.basic_launcher.BasicLauncher": ("basic", frozenset()),
    "hydra_plugins.hydra_submitit_launcher.submitit_launcher.SlurmLauncher": (
        "slurm",
        frozenset(
            (key,)
            for key in (
                "partition", "account", "qos", "constraint", "nodes", "tasks_per_node", "gpus_per_node",
                "gpus_per_task", "cpus_per_gpu", "cpus_per_task", "mem_gb", "mem_per_gpu", "mem_per_cpu", "timeout_min",
                "signal_delay_s", "max_num_timeout", "array_parallelism", "stderr_to_stdout",
            )
        ),
    ),
    "hydra_plugins.hydra_submitit_launcher.submitit_launcher.LocalLauncher": (
        "submitit_local",
        frozenset(
            (key,)
            for key in (
                "nodes", "tasks_per_node", "gpus_per_node", "cpus_per_task", "mem_gb", "timeout_min",
                "stderr_to_stdout",
            )
        ),
    ),
    "hydra_plugins.hydra_ray_launcher.ray_launcher.RayLauncher": (
        "ray_tasks",
        frozenset(
            {
                ("ray", "init", "object_store_memory"), ("ray", "init", "log_to_driver"), ("ray", "init", "num_cpus"),
                ("ray", "init", "num_gpus"), ("ray", "remote", "num_gpus"), ("ray", "remote", "num_cpus"),
                ("ray", "remote", "max_retries"), ("ray", "remote", "max_calls"),
            }
        ),
    ),
    "hydra_plugins.hydra_joblib_launcher.joblib_launcher.JoblibLauncher": (
        "joblib",
        frozenset({("n_jobs",), ("verbose",), ("timeout",), ("batch_size",)}),
    ),
}  # fmt: skip
"""Class of a launcher -> its name in the group ``hydra/launcher``, and the settings that a file may set.

These are amounts and names. Excluded is what a launcher runs or where it writes: ``setup``, ``python``, ``srun_args``,
``runtime_env``, ``additional_parameters``, the address of a cluster, folders.
"""
_SWEEPER = "hydra._internal.core_plugins.basic_sweeper.BasicSweeper"
_PLAIN = re.compile(r"[\w.,:@+|&*()\[\]-]{0,200}", re.ASCII)
"""A name without blanks, quotes and ``$``: it becomes part of a line of a shell script."""

_WAYS_OUT: dict[str, str] = {
    "job.env_set": "set a variable where you start evalkit: NAME=VALUE python -m evalkit ...",
    "job.env_copy": "set a variable where you start evalkit: NAME=VALUE python -m evalkit ...",
    "job.chdir": "evalkit stays in the folder it is started in; out_dir=DIR names the folder of the results",
    "searchpath": "name the folder with --config-dir DIR",
    "output_subdir": "config.yaml in out_dir holds the settings of a run",
    "job_logging": "evalkit writes a log of its own, evalkit.log in out_dir; log_format=json prints it too",
    "hydra_logging": "evalkit writes a log of its own, evalkit.log in out_dir; log_format=json prints it too",
    "run.dir": "set out_dir, or add hydra.run.dir=DIR to the command",
    "sweep.dir": "set out_dir, or add hydra.sweep.dir=DIR to the command",
    "verbose": "add hydra.verbose=... to the command",
    "launcher": "add it to the command if you know what it does",
    "callbacks": f"remove it, or allow its class in the environment: {ALLOW}=MODULE.CLASS",
}
_DEFAULT_WAY_OUT = (
    "remove it; a configuration can set hydra.mode, hydra.sweep.subdir, hydra.sweeper.params, "
    "hydra.sweeper.max_batch_size, hydra/launcher, and amounts and names of hydra.launcher"
)


def check(
    part: object, packaged: Mapping[str, Any], launcher: Callable[[str], Mapping[str, Any]], typed: frozenset[str]
) -> None:
    """Check the composed part ``hydra``, before Hydra acts on it.

    Args:
        part: with its interpolations unresolved.
        packaged: the same part as evalkit packages it.
        launcher: returns the packaged settings of a launcher by its name; empty if its plugin is not installed.
        typed: the keys given on the command line, such as ``hydra.launcher.partition``.

    Raises:
        EvalkitError: a setting differs that may not; the message names it, and the way out.
    """
    if not isinstance(part, Mapping):
        raise EvalkitError(f"hydra={quoted(part)}: it must be a mapping; {_DEFAULT_WAY_OUT}")
    found, wanted = dict(_leaves(part)), dict(_leaves(packaged))
    for path, value in sorted(found.items()):
        if path[0] in _BY_THEMSELVES or _within(path, _BY_HYDRA) or (path in wanted and wanted[path] == value):
            continue
        if _within(path, _ANYWHERE) and not isinstance(value, Mapping):
            continue
        if not (_within(path, _TYPED) and _is_typed(path, typed)):
            raise refusal(path, value)
    for path in wanted.keys() - found.keys():
        if path[0] not in _BY_THEMSELVES and not _within(path, (*_BY_HYDRA, *_ANYWHERE)):
            raise refusal(path, _GONE)
    _check_runtime(part)
    _check_callbacks(part.get("callbacks"), packaged.get("callbacks"))
    _check_sweeper(part.get("sweeper"), packaged.get("sweeper"))
    _check_launcher(part.get("launcher"), launcher, typed)


def check_subdir(subdir: str) -> None:
    """Check the folder of one trial of a sweep, resolved: it has to lie below that of the sweep.

    Raises:
        EvalkitError: it does not.
    """
    parts = subdir.replace("\\", "/").split("/")
    if subdir.startswith(("/", "\\")) or ".." in parts or not subdir.strip("./\\ ") or "\0" in subdir:
        raise EvalkitError(
            f"hydra.sweep.subdir={quoted(subdir)}: the folder of a trial has to lie below that of the sweep; give a "
            "name, such as ${hydra.job.num}"
        )


def _check_runtime(part: Mapping[str, Any]) -> None:
    """Check that what only Hydra may fill in is not filled in."""
    runtime, job = part.get("runtime"), part.get("job")
    for name, where, key in (("runtime", runtime, "output_dir"), ("job", job, "num"), ("job", job, "id")):
        if isinstance(where, Mapping) and where.get(key, "???") != "???":
            raise refusal((name, key), where[key])


def _check_callbacks(found: object, packaged: object) -> None:
    if not isinstance(found, Mapping) or not isinstance(packaged, Mapping):
        raise refusal(("callbacks",), found)
    for name, settings in packaged.items():
        given = found.get(name, _GONE)
        if name == "sweep_report" and isinstance(given, Mapping) and isinstance(given.get("blended"), bool):
            given = {**given, "blended": settings["blended"]}  # which systems are compared, nothing else
        if given != settings:
            raise refusal(("callbacks", str(name)), given)
    for name, settings in found.items():
        if name not in packaged and not (isinstance(settings, Mapping) and is_allowed(str(settings.get("_target_")))):
            raise refusal(("callbacks", str(name)), settings)


def _check_sweeper(found: object, packaged: object) -> None:
    if not isinstance(found, Mapping) or not isinstance(packaged, Mapping):
        raise refusal(("sweeper",), found)
    target = str(found.get("_target_"))
    if target != _SWEEPER:
        if is_allowed(target):
            return
        if target == optuna_sweeper.TARGET:
            optuna_sweeper.check(found)
            _check_params(found)
            return
        raise EvalkitError(
            f"hydra.sweeper._target_={quoted(target)}: evalkit sweeps over all combinations, with Hydra's own sweeper; "
            f"another one has to be allowed in the environment: {ALLOW}={target}"
        )
    _check_params(found)
    for key, value in found.items():
        if key != "params" and key not in ("_target_", "max_batch_size") and value != packaged.get(key):
            raise refusal(("sweeper", str(key)), value)


def _check_params(sweeper: Mapping[str, Any]) -> None:
    params = sweeper.get("params")
    if isinstance(params, Mapping):
        for name, values in params.items():
            _check_param(str(name), values)


def _check_param(name: str, values: object) -> None:
    if _OF_HYDRA.match(name):
        raise EvalkitError(
            f"hydra.sweeper.params.{name}: a sweep is over evalkit's settings, such as reranker or slice.lang, "
            "not over Hydra's"
        )
    if isinstance(values, Mapping | list | tuple):
        raise EvalkitError(
            f"hydra.sweeper.params.{name}={quoted(values)}: write the values as one text, such as {name}: a,b,c"
        )


_OF_HYDRA = re.compile(r"[\s+~]*hydra\s*(?:[./@:]|$)")


def _check_launcher(found: object, launcher: Callable[[str], Mapping[str, Any]], typed: frozenset[str]) -> None:
    if not isinstance(found, Mapping):
        raise refusal(("launcher",), found)
    target = str(found.get("_target_"))
    if is_allowed(target):
        return
    if target not in LAUNCHERS:
        known = ", ".join(sorted(name for name, _ in LAUNCHERS.values()))
        raise EvalkitError(
            f"hydra.launcher._target_={quoted(target)}: evalkit knows the launchers {known}; another one has to be "
            f"allowed in the environment: {ALLOW}={target}"
        )
    name, free = LAUNCHERS[target]
    packaged = dict(_leaves(launcher(name)))
    for path, value in _leaves(found):
        if path == ("_target_",) or (path in packaged and packaged[path] == value):
            continue
        if _is_typed(("launcher", *path), typed) or (path in free and _is_plain(value)):
            continue
        why = "" if path not in free else "give a number or one word of letters, digits and .,:@+-; "
        raise refusal(("launcher", *path), value, why)


def refusal(path: Path, value: object, why: str = "") -> EvalkitError:
    """Return the error for a setting below ``hydra`` that differs from the packaged one.

    Args:
        path: keys of the setting, without ``hydra``.
        value: what the configuration sets.
        why: what is wrong with this value, ending in "; "; empty if no value is allowed there.
    """
    dotted = ".".join(path)
    way = next((text for key, text in _WAYS_OUT.items() if f"{dotted}.".startswith(f"{key}.")), _DEFAULT_WAY_OUT)
    if value is _GONE:
        return EvalkitError(f"hydra.{dotted}: a configuration cannot remove this setting of Hydra")
    shown = "" if dotted.startswith("job.env_set") else f"={quoted(value)}"  # may be copied from the environment
    return EvalkitError(f"hydra.{dotted}{shown}: a configuration cannot set this for Hydra; {why}{way}")


_GONE = object()


def _leaves(value: Mapping[Any, Any], path: Path = ()) -> Iterator[tuple[Path, Any]]:
    """Yield path and value of each leaf: what is not a mapping, or is empty."""
    for key, inner in value.items():
        here = (*path, str(key))
        if isinstance(inner, Mapping) and inner:
            yield from _leaves(inner, here)
        else:
            yield here, inner


def _within(path: Path, places: tuple[Path, ...]) -> bool:
    return any(path[: len(place)] == place for place in places)


def _is_typed(path: Path, typed: frozenset[str]) -> bool:
    return any(".".join(("hydra", *path[:end])) in typed for end in range(1, len(path) + 1))


def _is_plain(value: object) -> bool:
    return (
        value is None
        or isinstance(value, bool | int | float)
        or bool(isinstance(value, str) and _PLAIN.fullmatch(value))
    )
