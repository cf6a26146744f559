"""Starts or joins Ray without its side effects on this process, and translates its errors."""

import logging
import os
import signal
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from evalkit.boundary.errors import EvalkitError
from evalkit.scoring.cluster.settings import RaySettings

MEMORY_ADVICE = "too little memory for so many? lower executor.workers or reranker.batch_tokens"
"""The last part of messages about workers that died."""

_ENVIRONMENT = {
    "RAY_USAGE_STATS_ENABLED": "0",  # no usage report over the network
    "RAY_BACKEND_LOG_LEVEL": "fatal",  # else recovered failures are logged to standard error, bypassing Python
    "RAY_DEDUP_LOGS_SKIP_REGEX": ".",  # else the death of a worker is printed; the events of `ScoredBatch` report it
}


def join_cluster(address: str) -> bool:
    """Start Ray on this machine or join a cluster, unless this process has done so already.

    Args:
        address: ``local`` to start Ray on this machine; ``auto`` or the address of a cluster to join one.

    Returns:
        Whether it was started or joined by this call, so that the caller is to shut it down.

    Raises:
        EvalkitError: it cannot be started or joined.
    """
    for name, value in _ENVIRONMENT.items():
        os.environ.setdefault(name, value)  # before the import, during which Ray reads them
    with _preserved_sigterm():
        import ray
        import ray.data

        logging.getLogger("ray.data").setLevel(logging.CRITICAL)  # errors are reported once, by evalkit
        if ray.is_initialized():
            return False
        local = address == "local"
        try:
            with _silenced_stderr():
                ray.init(
                    address=address,
                    include_dashboard=False if local else None,
                    log_to_driver=False,
                    logging_level=logging.CRITICAL,
                )
        except (OSError, RuntimeError, ValueError) as error:
            what = "cannot start Ray on this machine" if local else "cannot join that Ray cluster"
            raise EvalkitError(
                f"executor.address={address}: {what} ({_first_line(error)}); use executor=local, or "
                f"{'the address of a cluster' if local else 'executor.address=local for this machine alone'}"
            ) from None
    return True


def count_workers(settings: RaySettings, resources: Mapping[str, float]) -> int:
    """Return the number of workers: as configured, or as many as the cluster has room for.

    Args:
        settings: The configured number of workers, and what each of them needs.
        resources: Ray's resources of the cluster: numbers of ``GPU`` and ``CPU``.

    Raises:
        EvalkitError: the cluster has no room for them.
    """
    kind, each = ("GPU", settings.num_gpus) if settings.num_gpus else ("CPU", settings.num_cpus)
    room = int(resources.get(kind, 0) / each + 1e-9)
    if room >= (settings.workers or 1):
        return settings.workers or room
    if room:
        advice = f"lower executor.workers to {room}"
    elif kind == "GPU":
        advice = "use executor.num_gpus=0 executor.num_cpus=N for workers on CPUs"
    else:
        advice = "lower executor.num_cpus"
    raise EvalkitError(
        f"executor.workers={settings.workers or 1} with {each:g} {kind}s each do not fit: the Ray cluster at "
        f"executor.address={settings.address} has {resources.get(kind, 0):g}; {advice}, or add nodes"
    )


@contextmanager
def translate_ray_errors(timeout_s: float) -> Iterator[None]:
    """Raise errors of Ray as an `EvalkitError` of one sentence; others are raised unchanged.

    Args:
        timeout_s: The timeout in force, for messages.

    Raises:
        EvalkitError: in place of an error of Ray.
    """
    from ray import exceptions
    from ray.data.exceptions import ExecutionTimeoutError

    try:
        yield
    except (exceptions.GetTimeoutError, ExecutionTimeoutError):
        raise EvalkitError(
            f"no worker of Ray answered for {timeout_s:g} s: they hang, die at once, or the cluster has no room for "
            "one; raise executor.timeout_s if the model takes so long to load"
        ) from None
    except (exceptions.RayActorError, exceptions.WorkerCrashedError, exceptions.OutOfMemoryError) as error:
        raise EvalkitError(f"a worker of Ray died ({_first_line(error)}); {MEMORY_ADVICE}") from None


@contextmanager
def _preserved_sigterm() -> Iterator[None]:
    """Restore this process's handler of SIGTERM, which Ray replaces by one that prints a stack trace."""
    before = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, before)


@contextmanager
def _silenced_stderr() -> Iterator[None]:
    """Redirect file descriptor 2 to /dev/null: Ray's C++ library writes its log level there."""
    saved, null = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(null, 2)
        yield
    finally:
        os.dup2(saved, 2)
        os.close(saved)
        os.close(null)


def _first_line(error: Exception) -> str:
    return next(iter(str(error).strip().splitlines()), type(error).__name__).rstrip(".")
