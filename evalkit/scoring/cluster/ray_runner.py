"""Scores batches with Ray Data: each block of a dataset goes to one of a pool of actors with a model of their own.

This process plans all batches, as for its own device, and the workers only compute. Blocks come back in any order, and
their scores can be stored as they come.
"""

from collections.abc import Iterable, Iterator
from typing import Any

from evalkit.boundary.errors import EvalkitError
from evalkit.scoring.cluster import block_format
from evalkit.scoring.cluster.ray_session import count_workers, join_cluster, translate_ray_errors
from evalkit.scoring.cluster.settings import RaySettings
from evalkit.scoring.cluster.worker import AttemptCounter, ScoringWorker, check_versions, probe_environment
from evalkit.scoring.planner import ComputeEnvironment
from evalkit.scoring.runner import ScoredBatch
from evalkit.scoring.spec import ScorerSpec
from evalkit.scoring.tokenized_pairs import Batch


class RayRunner:
    """Scores batches on the workers of a Ray cluster; an `evalkit.scoring.runner.Runner`."""

    def __init__(self, spec: ScorerSpec, settings: RaySettings) -> None:
        """Store the settings; nothing is started before `start`.

        Args:
            spec: Model and settings of the workers; `spec.device` is ``cuda`` or ``cpu``, as a worker sees its own.
            settings: The cluster, and what each worker gets.
        """
        self._spec = spec
        self._settings = settings
        self._owns_ray = False
        self._environment: ComputeEnvironment | None = None
        self.workers = 0
        """Their number; known after `start`."""

    @property
    def environment(self) -> ComputeEnvironment:
        """Return the environment in which the workers compute; known after `start`."""
        assert self._environment is not None, "start() comes first"
        return self._environment

    def start(self) -> None:
        """Join or start Ray, and probe the environment of one worker.

        Raises:
            EvalkitError: there is no cluster, it has no room for the workers, or device, precision or model are not
                available on a worker.
        """
        self._join()
        import ray

        settings = self._settings
        try:
            self.workers = count_workers(settings, ray.cluster_resources())
            probe = ray.remote(max_retries=settings.retries, **settings.worker_resources)(probe_environment)
            with translate_ray_errors(settings.timeout_s):
                result = ray.get(probe.remote(self._spec), timeout=settings.timeout_s)
            if isinstance(result, str):
                raise EvalkitError(result)
            check_versions(*result)
        except BaseException:
            self.close()
            raise
        self._environment = result[1]

    def run(self, batches: Iterable[Batch]) -> Iterator[ScoredBatch]:
        """Yield the scores of each block, in the order in which they are done; then leave the cluster.

        All batches are planned before the first is scored, and wait in Ray's object store, which spills to disk.

        Args:
            batches: The batches.

        Raises:
            EvalkitError: a worker cannot score, workers die over a block more often than it is retried, or no result
                arrives for too long.
        """
        groups = block_format.group_batches(batches, self._settings.batches_per_block)
        tables = [block_format.encode_block(number, group) for number, group in enumerate(groups)]
        if not tables:
            return
        pending = set(range(len(tables)))
        try:
            self._join()
            with translate_ray_errors(self._settings.timeout_s):
                results = self._dataset(tables)
                del tables  # they are in the object store now
                for table in results.iter_batches(batch_size=None, batch_format="pyarrow"):
                    for number, scored in block_format.decode_scores(table):
                        if number in pending:  # else a retried block whose first result arrived after all
                            pending.remove(number)
                            yield scored
        finally:
            self.close()
        if pending:
            raise EvalkitError(
                f"Ray lost {len(pending)} blocks without an error; run again: the others are in the store"
            )

    def close(self) -> None:
        """Leave the cluster, or stop the one that was started here; `environment` and `workers` remain known."""
        if self._owns_ray:
            import ray

            ray.shutdown()
            self._owns_ray = False

    def _join(self) -> None:
        self._owns_ray = join_cluster(self._settings.address) or self._owns_ray

    def _dataset(self, tables: list[Any]) -> Any:
        """Return a dataset of the scores of all blocks, which is computed while it is read."""
        import ray

        settings = self._settings
        # On any node: if that is lost, Ray restarts the counter, which then has lost its counts.
        attempts = ray.remote(num_cpus=0, max_restarts=-1, max_task_retries=-1)(AttemptCounter).remote()
        # Each table is a block, and an actor gets one block per call. Ray Data restarts a lost actor and retries its
        # block, both without limit; `AttemptCounter` is what limits it.
        results = ray.data.from_blocks(tables).map_batches(
            ScoringWorker,
            fn_constructor_args=(self._spec, self._environment, attempts, settings.retries, self.workers),
            batch_size=1,
            batch_format="pyarrow",
            compute=ray.data.ActorPoolStrategy(size=self.workers),
            **settings.worker_resources,
        )
        results.context.enable_progress_bars = False  # evalkit has its own
        results.context.print_on_execution_start = False
        results.context.execution_no_progress_timeout_s = settings.timeout_s
        return results
