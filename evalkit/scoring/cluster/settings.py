"""The settings of a Ray cluster, and the checks of them before anything is started; nothing here needs Ray."""

from collections.abc import Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

from evalkit.boundary.errors import EvalkitError


@dataclass  # not frozen: it is the configuration's schema too, and OmegaConf sets no field of a frozen one
class RaySettings:
    """The configuration's group ``executor`` for Ray: workers, the resources of each, and what to do when one dies."""

    name: str = "ray"
    """The executor: ``ray``."""
    workers: int | None = None
    """Number of workers (Ray actors), each with its own copy of the model; None for as many as the cluster has room."""
    num_gpus: float = 1.0
    """GPUs of each worker; 0 for workers that compute on CPUs."""
    num_cpus: float = 0.0
    """CPUs of each worker without a GPU, and the number of its torch threads."""
    address: str = "local"
    """``local`` starts Ray on this machine only; ``auto`` or HOST:PORT joins a running cluster."""
    batches_per_block: int = 8
    """Batches sent together, and lost together if a worker dies; fewer per block mean more work for Ray's scheduler."""
    retries: int = 3
    """How often a block is sent to another worker after the one that had it died."""
    timeout_s: float = 1800.0
    """Seconds to wait while no result at all comes back, loading the model included."""

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
        return cls(**executor)

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
    "clients": [],
    "rates": [],
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
