"""The settings of a Ray cluster, checked before anything is started; this module does not import Ray."""

from collections.abc import Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

from evalkit.errors import EvalkitError


@dataclass(frozen=True)
class RaySettings:
    """The number of workers, the resources of each, and how failures are handled."""

    workers: int | None = None
    """Actors with a model of their own; None for as many as the cluster has room for."""
    num_gpus: float = 1
    """GPUs of each worker; 0 for workers that compute on CPUs."""
    num_cpus: float = 0
    """CPUs of each worker that has no GPU, and threads of its torch."""
    address: str = "local"
    """``local`` starts Ray on this machine; ``auto`` or an address joins a running cluster."""
    batches_per_block: int = 8
    """Batches that are sent, and retried, together; smaller blocks are more work for Ray's scheduler."""
    retries: int = 3
    """How often a block is tried again after a worker died over it."""
    timeout_s: float = 1800.0
    """How long to wait while no result arrives; this includes loading the model."""

    @classmethod
    def of(cls, executor: Mapping[str, Any]) -> "RaySettings":
        """Return the settings in the configuration's group ``executor``.

        Args:
            executor: The group, with its ``name``.

        Raises:
            EvalkitError: it is not Ray's.
        """
        if executor["name"] != "ray":
            raise EvalkitError(f"executor={executor['name']}: there is local and ray")
        return cls(**{key: value for key, value in executor.items() if key != "name"})

    @property
    def device(self) -> str:
        """Return the device of each worker, ``cuda`` or ``cpu``."""
        return "cuda" if self.num_gpus else "cpu"

    @property
    def worker_resources(self) -> dict[str, float]:
        """Return the resources of each worker: GPUs or CPUs, since Ray Data calls requests for both experimental."""
        return {"num_gpus": self.num_gpus} if self.num_gpus else {"num_cpus": self.num_cpus}

    def check(self) -> None:
        """Check that Ray is installed and that the values are valid.

        Raises:
            EvalkitError: it is not, or one is not.
        """
        if not (_is_installed("ray") and _is_installed("pyarrow")):
            raise EvalkitError("executor=ray needs Ray, which is not installed: pip install 'evalkit-rerank[ray]'")
        if (self.num_gpus > 0) == (self.num_cpus > 0) or min(self.num_gpus, self.num_cpus) < 0:
            raise EvalkitError(
                f"executor.num_gpus={self.num_gpus:g} executor.num_cpus={self.num_cpus:g}: a worker computes on one of "
                "them; give the one above 0, and 0 for the other"
            )
        for key in ("workers", "batches_per_block"):
            if (value := getattr(self, key)) is not None and value < 1:
                raise EvalkitError(f"executor.{key}={value}: give a number of 1 or more")
        if self.retries < 0:
            raise EvalkitError(f"executor.retries={self.retries}: give a number of 0 or more")
        if not self.timeout_s > 0:
            raise EvalkitError(f"executor.timeout_s={self.timeout_s:g}: give a number of seconds above 0")


_OFF_BY_PARAMETER = {
    "warmup_queries": 0,
    "latency_queries": 0,
    "calibrate": False,
    "matrix_rate_s": 0,
    "memory_pass": False,
    "grid_depths": [],
    "price_per_gpu_hour": None,
}
"""Parameters of a protocol that measure the device of this process, and the value that switches each one off."""


def check_protocol(protocol: Mapping[str, Any]) -> None:
    """Refuse a protocol that would measure this machine instead of the workers.

    Args:
        protocol: The configuration's group ``protocol``.

    Raises:
        EvalkitError: it measures more than the time of scoring all pairs.
    """
    for key, off in _OFF_BY_PARAMETER.items():
        if (value := protocol.get(key, off)) != off:
            raise EvalkitError(
                f"protocol.{key}={value}: executor=ray scores on other machines, where single queries, memory and "
                "matrix rates cannot be measured from here; use protocol=none, or executor=local on one of them"
            )


_LAUNCHERS = {
    "hydra_plugins.hydra_submitit_launcher": "hydra-submitit-launcher",
    "hydra_plugins.hydra_ray_launcher": "hydra-ray-launcher",
}
"""Module of a Hydra launcher -> the package that has it."""


def check_launcher(target: str) -> None:
    """Check that the launcher of a sweep is installed; Hydra itself would end in a traceback.

    Args:
        target: The `_target_` of the launcher.

    Raises:
        EvalkitError: it is not installed.
    """
    for module, package in _LAUNCHERS.items():
        if target.startswith(f"{module}.") and not _is_installed(module):
            raise EvalkitError(f"hydra/launcher: {target.rpartition('.')[2]} is not installed: pip install {package}")


def _is_installed(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except ModuleNotFoundError:  # find_spec imports the parent package
        return False
