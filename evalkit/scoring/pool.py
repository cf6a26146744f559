"""Several devices of one machine: each with a model of its own, and batches dealt out to whoever is done."""

import threading
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from multiprocessing import get_context
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from queue import Queue
from typing import Any

from evalkit.errors import EvalkitError
from evalkit.scoring.runner import Done, Runner, joined
from evalkit.scoring.spec import ScorerSpec, build_scorer
from evalkit.scoring.token_table import Batch

_LOAD_S = 1800.0
"""A model of gigabytes from a network file system may take minutes."""

_STOP_S = 10.0


@dataclass
class _Worker:
    name: str
    process: BaseProcess
    pipe: Connection


class DevicePool:
    """A process for each device, beside the one that this process works on itself. Leaving the context ends them.

    The longest batches come first and each worker takes the next one when it is done, so that all finish at about the
    same time. A worker that dies or hangs is given up, with a sentence in the next `Done`, and its batch goes to
    another one; when none is left, that is an error.
    """

    def __init__(self, specs: Sequence[ScorerSpec], own: Runner | None = None, batch_timeout_s: float = 600.0) -> None:
        """Start a process for each of `specs`; `own` is the model of this process, if it is to work too.

        Raises:
            EvalkitError: one of them cannot load its model.
        """
        self._batch_timeout_s = batch_timeout_s
        self._own = own
        context = get_context("spawn")
        self._workers: list[_Worker] = []
        try:
            for number, spec in enumerate(specs):
                ours, theirs = context.Pipe()
                process = context.Process(target=_serve, args=(theirs, spec), daemon=True)
                process.start()
                theirs.close()
                self._workers.append(_Worker(f"worker {number} on {spec.device}", process, ours))
            for worker in self._workers:
                _answer(worker, _LOAD_S)
        except _LostError as lost:
            self.close()
            raise EvalkitError(f"{lost} while it loaded {specs[0].model}; too little memory for so many?") from None
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> "DevicePool":
        """Return the pool."""
        return self

    def __exit__(self, *_: object) -> None:
        """End the workers."""
        self.close()

    def __len__(self) -> int:
        """Return the number of processes."""
        return len(self._workers)

    def close(self) -> None:
        """End the workers' processes."""
        for worker in self._workers:
            worker.pipe.close()  # whoever waits for a batch at the other end sees the end of it
        for worker in self._workers:
            worker.process.join(_STOP_S)
            if worker.process.is_alive():
                worker.process.kill()
                worker.process.join()
        self._workers = []

    def run(self, batches: Iterable[Batch]) -> Iterator[Done]:
        """Yield logits batch by batch, in the order in which they are done.

        Raises:
            EvalkitError: no worker is left, or what a worker says of a batch.
        """
        self._workers = [worker for worker in self._workers if worker.process.is_alive()]
        dealer = _Dealer(iter(batches))
        results: Queue[Done | BaseException | None] = Queue()
        working_on: list[_Worker | Runner] = [*self._workers, *([self._own] if self._own else [])]
        threads = [
            threading.Thread(target=self._work, args=(worker, dealer, results), daemon=True) for worker in working_on
        ]
        for thread in threads:
            thread.start()
        try:
            working = len(threads)
            while working:
                result = results.get()
                if isinstance(result, BaseException):
                    raise result
                if result is None:
                    working -= 1
                    continue
                yield result
            if dealer.next() is not None:
                raise EvalkitError(f"no worker is left to score on: {'; '.join(dealer.failures) or 'all have died'}")
        finally:
            dealer.stop()
            for thread in threads:
                thread.join(self._batch_timeout_s)

    def _work(
        self, worker: "_Worker | Runner", dealer: "_Dealer", results: "Queue[Done | BaseException | None]"
    ) -> None:
        try:
            while (batch := dealer.next()) is not None:
                try:
                    done = (
                        _answer(worker, self._batch_timeout_s, batch)
                        if isinstance(worker, _Worker)
                        else joined(list(worker.run([batch])))
                    )
                except _LostError as lost:
                    worker.process.kill()  # type: ignore[union-attr]
                    dealer.give_back(batch, str(lost))
                    break
                dealer.finished()
                results.put(dealer.with_failures(done))
        except BaseException as error:  # an error of the model or of the tokenizer belongs to whoever asked for scores
            results.put(error)
        finally:
            results.put(None)


class _Dealer:
    """Hands batches out to threads, and takes back those that were not scored."""

    def __init__(self, batches: Iterator[Batch]) -> None:
        self._batches = batches
        self._returned: deque[Batch] = deque()
        self._out = 0
        self._ended = False
        self._told = 0
        self._changed = threading.Condition()
        self.failures: list[str] = []

    def next(self) -> Batch | None:
        """Return a batch, or None when there are no more; waits for those that another worker may yet give back."""
        with self._changed:
            while True:
                if self._returned:
                    self._out += 1
                    return self._returned.popleft()
                if not self._ended:
                    batch = next(self._batches, None)
                    if batch is not None:
                        self._out += 1
                        return batch
                    self._ended = True
                if not self._out:
                    return None
                self._changed.wait()

    def finished(self) -> None:
        with self._changed:
            self._out -= 1
            self._changed.notify_all()

    def give_back(self, batch: Batch, why: str) -> None:
        with self._changed:
            self._out -= 1
            self._returned.append(batch)
            self.failures.append(why)
            self._changed.notify_all()

    def stop(self) -> None:
        with self._changed:
            self._ended, self._out = True, 0
            self._returned.clear()
            self._changed.notify_all()

    def with_failures(self, done: Done) -> Done:
        """Return `done` with what has gone wrong since it was last told."""
        with self._changed:
            new, self._told = self.failures[self._told :], len(self.failures)
        return replace(done, events=(*done.events, *new)) if new else done


class _LostError(Exception):
    """A worker that will not answer any more."""


def _answer(worker: _Worker, timeout_s: float, batch: Batch | None = None) -> Any:
    try:
        if batch is not None:
            worker.pipe.send(batch)
        if not worker.pipe.poll(timeout_s):
            raise _LostError(f"{worker.name} did not answer for {timeout_s:g} s")
        kind, value = worker.pipe.recv()
    except (EOFError, OSError):
        raise _LostError(f"{worker.name} died (exit code {_exit_code(worker)})") from None
    if kind == "error":
        raise value
    return value


def _exit_code(worker: _Worker) -> int | None:
    worker.process.join(1)
    return worker.process.exitcode


def _serve(pipe: Connection, spec: ScorerSpec) -> None:
    """Load the model, say so, and score batches until the other end closes."""
    try:
        scorer = build_scorer(spec).scorer
        pipe.send(("ready", scorer.describe()))
        while True:
            pipe.send(("done", joined(list(scorer.runner.run([pipe.recv()])))))
    except (EOFError, BrokenPipeError, KeyboardInterrupt):
        return
    except BaseException as error:
        pipe.send(("error", error))
