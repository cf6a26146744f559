"""Scores batches on several devices of one machine: a worker process for each, and a shared queue of batches."""

import threading
from collections.abc import Iterable, Iterator, Sequence
from queue import Queue

from evalkit.boundary.errors import EvalkitError
from evalkit.scoring.batch_queue import BatchQueue
from evalkit.scoring.runner import Runner, ScoredBatch, concatenate
from evalkit.scoring.spec import ScorerSpec
from evalkit.scoring.tokenized_pairs import Batch
from evalkit.scoring.worker_process import WorkerLostError, WorkerProcess

_LOAD_TIMEOUT_S = 1800.0
"""Loading a model of several GB from a network file system may take minutes."""


class DevicePool:
    """A `Runner` over worker processes, and optionally a runner in this process; a context manager.

    Each worker takes the next batch when it is done with one. Batches come longest first, so that all workers finish at
    about the same time. A worker that dies or hangs is dropped, with a sentence in the events of the next
    `ScoredBatch`, and its batch goes to another one. It is an error if no worker is left.
    """

    def __init__(
        self, specs: Sequence[ScorerSpec], local_runner: Runner | None = None, batch_timeout_s: float = 600.0
    ) -> None:
        """Start a worker process for each spec, and wait until all have loaded their models.

        Args:
            specs: Model and device of each worker.
            local_runner: A runner of this process that takes batches as well.
            batch_timeout_s: How long to wait for a batch before its worker is dropped.

        Raises:
            EvalkitError: a worker cannot load its model.
        """
        self.local_runner = local_runner
        self.batch_timeout_s = batch_timeout_s
        self._workers: list[WorkerProcess] = []
        try:
            for number, spec in enumerate(specs):
                self._workers.append(WorkerProcess(spec, f"worker {number} on {spec.device}"))
            for worker in self._workers:
                worker.wait_until_ready(_LOAD_TIMEOUT_S)
        except WorkerLostError as lost:
            self.close()
            raise EvalkitError(
                f"{lost} while loading {specs[0].model}; there may be too little memory for {len(specs)} of them"
            ) from None
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> "DevicePool":
        """Return the pool."""
        return self

    def __exit__(self, *_: object) -> None:
        """End the worker processes."""
        self.close()

    def __len__(self) -> int:
        """Return the number of worker processes."""
        return len(self._workers)

    def close(self) -> None:
        """End the worker processes."""
        for worker in self._workers:
            worker.close()
        for worker in self._workers:
            worker.join()
        self._workers = []

    def run(self, batches: Iterable[Batch]) -> Iterator[ScoredBatch]:
        """Yield the scores of all batches, in the order in which they are done.

        Args:
            batches: The batches.

        Raises:
            EvalkitError: no worker is left.
            Exception: any that a worker's model raises.
        """
        self._workers = [worker for worker in self._workers if worker.is_alive()]
        queue = BatchQueue(iter(batches))
        results: Queue[ScoredBatch | BaseException | None] = Queue()
        runners: list[WorkerProcess | Runner] = [*self._workers, *([self.local_runner] if self.local_runner else [])]
        threads = [
            threading.Thread(target=self._score_from, args=(queue, runner, results), daemon=True) for runner in runners
        ]
        for thread in threads:
            thread.start()
        try:
            active = len(threads)
            while active:
                result = results.get()
                if isinstance(result, BaseException):
                    raise result
                if result is None:
                    active -= 1
                    continue
                yield result
            if queue.next() is not None:
                raise EvalkitError(f"no worker is left to score on: {'; '.join(queue.failures) or 'all have died'}")
        finally:
            queue.stop()
            for thread in threads:
                thread.join(self.batch_timeout_s)

    def _score_from(
        self,
        queue: BatchQueue,
        runner: WorkerProcess | Runner,
        results: "Queue[ScoredBatch | BaseException | None]",
    ) -> None:
        """Put the scores of batches from the queue into `results`, or an exception, and None at the end."""
        try:
            while (batch := queue.next()) is not None:
                if isinstance(runner, WorkerProcess):
                    try:
                        scored = runner.score(batch, self.batch_timeout_s)
                    except WorkerLostError as lost:
                        runner.kill()
                        queue.give_back(batch, str(lost))
                        break
                else:
                    scored = concatenate(list(runner.run([batch])))
                queue.finish()
                results.put(queue.add_failures(scored))
        except BaseException as error:  # of the model, or of the iterator of batches: raised again by `run`
            results.put(error)
        finally:
            results.put(None)
