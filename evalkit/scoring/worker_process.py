"""A worker process with a model of its own, which scores the batches that it is sent."""

from multiprocessing import get_context
from multiprocessing.connection import Connection
from typing import Any

from evalkit.boundary.spawning import without_main
from evalkit.scoring.runner import ScoredBatch, concatenate
from evalkit.scoring.spec import ScorerSpec, build_scorer
from evalkit.scoring.tokenized_pairs import Batch

_STOP_S = 10.0


class WorkerLostError(Exception):
    """A worker process that died, or that does not answer."""


class WorkerProcess:
    """The parent's end of a worker process."""

    def __init__(self, spec: ScorerSpec, name: str) -> None:
        """Start the process, which loads its model at once; `wait_until_ready` waits for that.

        Args:
            spec: Model and device of the worker.
            name: The name of the worker in messages.
        """
        self._name = name
        context = get_context("spawn")
        self._pipe, child_pipe = context.Pipe()
        self._process = context.Process(target=_serve, args=(child_pipe, spec), daemon=True)
        with without_main():
            self._process.start()
        child_pipe.close()

    def is_alive(self) -> bool:
        """Return whether the process is running."""
        return self._process.is_alive()

    def wait_until_ready(self, timeout_s: float) -> None:
        """Wait until the model is loaded.

        Args:
            timeout_s: How long to wait.

        Raises:
            WorkerLostError: the worker died or did not answer in time.
            EvalkitError: it cannot load its model.
        """
        self._receive(timeout_s)

    def score(self, batch: Batch, timeout_s: float) -> ScoredBatch:
        """Return the scores of a batch.

        Args:
            batch: The pairs.
            timeout_s: How long to wait for the answer.

        Raises:
            WorkerLostError: the worker died or did not answer in time.
            Exception: any that the worker's model raised.
        """
        try:
            self._pipe.send(batch)
        except OSError:
            raise self._died() from None
        scored: ScoredBatch = self._receive(timeout_s)
        return scored

    def kill(self) -> None:
        """Kill the process."""
        self._process.kill()

    def close(self) -> None:
        """Close the pipe, which ends the process once it waits for its next batch."""
        self._pipe.close()

    def join(self) -> None:
        """Wait until the process has ended; kill it if that takes longer than 10 seconds."""
        self._process.join(_STOP_S)
        if self._process.is_alive():
            self._process.kill()
            self._process.join()

    def _receive(self, timeout_s: float) -> Any:
        try:
            if not self._pipe.poll(timeout_s):
                raise WorkerLostError(f"{self._name} did not answer for {timeout_s:g} s")
            kind, value = self._pipe.recv()
        except (EOFError, OSError):
            raise self._died() from None
        if kind == "error":
            raise value
        return value

    def _died(self) -> WorkerLostError:
        self._process.join(1)
        return WorkerLostError(f"{self._name} died (exit code {self._process.exitcode})")


def _serve(pipe: Connection, spec: ScorerSpec) -> None:
    """Load the model, report that it is ready, and score batches until the parent closes the pipe."""
    try:
        scorer = build_scorer(spec).scorer
        pipe.send(("ready", None))
        while True:
            pipe.send(("scored", concatenate(list(scorer.runner.run([pipe.recv()])))))
    except (EOFError, BrokenPipeError, KeyboardInterrupt):
        return
    except BaseException as error:
        pipe.send(("error", error))
