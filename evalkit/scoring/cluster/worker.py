"""What runs on the workers of a Ray cluster: an actor with a scorer, and a probe of its environment."""

from collections import Counter
from dataclasses import fields, replace
from importlib.metadata import version
from typing import Any

from evalkit import __version__
from evalkit.boundary.errors import EvalkitError
from evalkit.scoring.cluster import block_format
from evalkit.scoring.cluster.ray_session import MEMORY_ADVICE
from evalkit.scoring.device import resolve_device, resolve_precision
from evalkit.scoring.planner import ComputeEnvironment, build_planner, environment_of
from evalkit.scoring.runner import concatenate
from evalkit.scoring.spec import ScorerSpec, build_scorer

_LOADING = "loading"
"""The task under which `AttemptCounter` counts loading the model."""


def probe_environment(spec: ScorerSpec) -> tuple[str, ComputeEnvironment] | str:
    """Return evalkit's version and the environment on a worker, or a message if it cannot score.

    Args:
        spec: Model, device and settings of the worker.
    """
    try:
        device = resolve_device(spec.device)
        resolve_precision(spec.precision, device)
        return __version__, environment_of(build_planner(spec, device))
    except EvalkitError as error:
        return f"on a worker: {error}"


def check_versions(evalkit_version: str, environment: ComputeEnvironment) -> None:
    """Check that a worker has the versions of this machine.

    Args:
        evalkit_version: The version of evalkit on the worker.
        environment: The environment on the worker.

    Raises:
        EvalkitError: a version differs.
    """
    torch = version("torch").partition("+")[0]
    here = {"evalkit": __version__, "torch": torch, "transformers": version("transformers")}
    worker = {"evalkit": evalkit_version, "torch": environment.torch, "transformers": environment.transformers}
    for name, wanted in here.items():
        if worker[name] != wanted:
            raise EvalkitError(
                f"the workers have {name} {worker[name]}, and here is {name} {wanted}: install the same on all nodes"
            )


def check_environment(expected: ComputeEnvironment, environment: ComputeEnvironment) -> None:
    """Check that a worker's environment is that of the worker that was probed.

    Args:
        expected: The environment of the probed worker.
        environment: The environment of this worker.

    Raises:
        EvalkitError: they differ.
    """
    for name in (field.name for field in fields(expected)):
        one, other = getattr(expected, name), getattr(environment, name)
        if one != other:
            raise EvalkitError(
                f"its {name} is {other}, and that of the worker asked first is {one}: scores would differ with the "
                "worker that they come from; use nodes of one kind, with one model on all of them"
            )


class AttemptCounter:
    """Counts the attempts at each task; an actor of its own, since it has to outlive the workers."""

    def __init__(self) -> None:
        """Start without attempts."""
        self._attempts: Counter[int | str] = Counter()

    def begin(self, task: int | str) -> int:
        """Count an attempt, and return the number of earlier ones.

        Args:
            task: The number of a block, or a name.
        """
        self._attempts[task] += 1
        return self._attempts[task] - 1

    def reset(self, task: int | str) -> None:
        """Forget the attempts at a task that succeeded.

        Args:
            task: The number of a block, or a name.
        """
        del self._attempts[task]


class ScoringWorker:
    """An actor that builds its scorer once and then scores blocks.

    An `EvalkitError` is returned as a message: an exception would be wrapped in a page of Ray's own stack frames.
    """

    def __init__(
        self, spec: ScorerSpec, expected: ComputeEnvironment, attempts: Any, retries: int, workers: int
    ) -> None:
        """Build the scorer.

        Args:
            spec: Model, device and settings.
            expected: The environment of the worker that was probed.
            attempts: The handle of an `AttemptCounter` actor.
            retries: How often a task is tried again after a worker died.
            workers: The number of workers.
        """
        self._attempts, self._retries = attempts, retries
        self._error: str | None = None
        deaths = self._begin(_LOADING) - (workers - 1)  # the other workers may be loading at this moment
        if deaths > retries * workers:
            self._error = f"{deaths} workers of Ray died while loading {spec.model}, one by one; {MEMORY_ADVICE}"
            return
        try:
            built = build_scorer(spec)
            check_environment(expected, environment_of(built))
            self._scorer = built.scorer
        except EvalkitError as error:
            self._error = f"on a worker: {error}"
        self._attempts.reset.remote(_LOADING)

    def __call__(self, table: Any) -> Any:
        """Return the scores of a block, or an error, as an Arrow table.

        Args:
            table: As `encode_block` returns it.
        """
        number, batches = block_format.decode_block(table)
        if self._error is not None:
            return block_format.encode_error(number, self._error)
        deaths = self._begin(number)
        if deaths > self._retries:
            return block_format.encode_error(
                number, f"{deaths} workers of Ray died over the same batches, one by one; {MEMORY_ADVICE}"
            )
        try:
            scored = concatenate(list(self._scorer.runner.run(batches)))
        except EvalkitError as error:
            return block_format.encode_error(number, f"on a worker: {error}")
        again = (f"a block was scored again, since {deaths} of Ray's workers died over it",) if deaths else ()
        return block_format.encode_scores(number, replace(scored, events=(*again, *scored.events)))

    def _begin(self, task: int | str) -> int:
        import ray

        return int(ray.get(self._attempts.begin.remote(task)))
