"""Batches over Ray Data: the blocks of a dataset, scored by a pool of actors, each with a model of its own.

The driver plans all batches, as it does for a device of its own, and the workers only compute. What is scored comes
back block by block, in any order, and a store keeps it as it comes.
"""

import logging
import os
import signal
import threading
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import fields, replace
from importlib.metadata import version
from typing import Any

from evalkit import __version__
from evalkit.errors import EvalkitError
from evalkit.scoring.cluster import blocks
from evalkit.scoring.cluster.settings import RaySettings
from evalkit.scoring.device import resolve_device, resolve_precision
from evalkit.scoring.runner import Done, joined
from evalkit.scoring.spec import Place, ScorerSpec, build_planner, build_scorer, place_of
from evalkit.scoring.token_table import Batch

_QUIET = {
    "RAY_USAGE_STATS_ENABLED": "0",  # it would tell its makers of this run
    "RAY_BACKEND_LOG_LEVEL": "fatal",  # what goes wrong and is mended goes to standard error, past Python
    "RAY_DEDUP_LOGS_SKIP_REGEX": ".",  # and the death of a worker to standard output; a `Done` tells of it
}


class RayRunner:
    """Scores batches on the workers of a Ray cluster; a `Runner` (`evalkit.scoring.runner`)."""

    def __init__(self, spec: ScorerSpec, settings: RaySettings) -> None:
        """Take note; nothing is started yet. `spec.device` is ``cuda`` or ``cpu``, as a worker sees its own."""
        self._spec = spec
        self._settings = settings
        self._owned = False
        self._place: Place | None = None
        self.workers = 0
        """How many there are; known after `start`."""

    @property
    def place(self) -> Place:
        """Where and with what the workers compute; known after `start`."""
        assert self._place is not None, "start() comes first"
        return self._place

    def start(self) -> None:
        """Join or start Ray, and ask one worker what it computes with.

        Raises:
            EvalkitError: there is no cluster, no room for the workers, or a worker refuses device, precision or model.
        """
        self._join()
        import ray

        try:
            self.workers = _room(self._settings, ray.cluster_resources())
            ask = ray.remote(max_retries=self._settings.retries, **_share(self._settings))(_look_around)
            with _told(self._settings):
                found = ray.get(ask.remote(self._spec), timeout=self._settings.timeout_s)
            if isinstance(found, str):
                raise EvalkitError(found)
            _check_software(*found)
        except BaseException:
            self.close()
            raise
        self._place = found[1]

    def run(self, batches: Iterable[Batch]) -> Iterator[Done]:
        """Yield what is scored, block by block, in the order in which the workers are done; then leave the cluster.

        All batches are planned before the first is scored, and wait in Ray's object store, which spills to disk.

        Raises:
            EvalkitError: a worker refuses its work, workers die over a block more often than it is retried, or nothing
                comes back for too long.
        """
        groups = blocks.grouped(batches, self._settings.batches_per_block)
        tables = [blocks.block(number, group) for number, group in enumerate(groups)]
        if not tables:
            return
        waiting = set(range(len(tables)))
        try:
            self._join()
            with _told(self._settings):
                scored = self._dataset(tables)
                del tables  # they are in the object store now
                for table in scored.iter_batches(batch_size=None, batch_format="pyarrow"):
                    for number, done in blocks.answers(table):
                        if number in waiting:  # else the second answer about one that was given out again
                            waiting.remove(number)
                            yield done
        finally:
            self.close()
        if waiting:
            raise EvalkitError(f"Ray lost {len(waiting)} blocks without a word; run again: the others are in the store")

    def close(self) -> None:
        """Leave the cluster, or end the one that was started here; what was learnt about its workers stays."""
        if self._owned:
            import ray

            ray.shutdown()
            self._owned = False

    def _join(self) -> None:
        for name, value in _QUIET.items():
            os.environ.setdefault(name, value)  # Ray reads them while it is imported
        with _own_sigterm():
            import ray
            import ray.data

            logging.getLogger("ray.data").setLevel(logging.CRITICAL)  # what goes wrong is told once, by us
            if ray.is_initialized():
                return
            local = self._settings.address == "local"
            try:
                with _no_standard_error():
                    ray.init(
                        address=self._settings.address,
                        include_dashboard=False if local else None,
                        log_to_driver=False,
                        logging_level=logging.CRITICAL,
                    )
            except (OSError, RuntimeError, ValueError) as error:
                what = "cannot start Ray on this machine" if local else "cannot join that Ray cluster"
                raise EvalkitError(
                    f"executor.address={self._settings.address}: {what} ({_first_line(error)}); use executor=local, or "
                    f"{'the address of a cluster' if local else 'executor.address=local for this machine alone'}"
                ) from None
            self._owned = True

    def _dataset(self, tables: list[Any]) -> Any:
        """Return the answers to all blocks, as a dataset that is computed when it is read."""
        import ray

        settings = self._settings
        # Wherever there is room: it comes back when its node is lost, having forgotten.
        attempts = ray.remote(num_cpus=0, max_restarts=-1, max_task_retries=-1)(_Attempts).remote()
        # Every table is a block of its own, and a call of an actor takes one of them. Ray Data starts a lost actor
        # again and gives its block out again, both without end; `_Attempts` is what puts an end to it.
        scored = ray.data.from_blocks(tables).map_batches(
            _Worker,
            fn_constructor_args=(self._spec, self._place, attempts, settings.retries, self.workers),
            batch_size=1,
            batch_format="pyarrow",
            compute=ray.data.ActorPoolStrategy(size=self.workers),
            **_share(settings),
        )
        scored.context.enable_progress_bars = False  # evalkit has its own
        scored.context.print_on_execution_start = False
        scored.context.execution_no_progress_timeout_s = settings.timeout_s
        return scored


def _look_around(spec: ScorerSpec) -> tuple[str, Place] | str:
    """Return evalkit's version on a worker and what it would compute with, or in a sentence why it cannot."""
    try:
        device = resolve_device(spec.device)
        resolve_precision(spec.precision, device)
        return __version__, place_of(build_planner(spec, device))
    except EvalkitError as error:
        return f"on a worker: {error}"


class _Attempts:
    """Counts how often something was begun; an actor of its own, for it has to outlive the workers."""

    def __init__(self) -> None:
        self._begun: Counter[int | str] = Counter()

    def begin(self, what: int | str) -> int:
        """Return how often it was begun before."""
        self._begun[what] += 1
        return self._begun[what] - 1

    def succeeded(self, what: int | str) -> None:
        """Start counting anew."""
        del self._begun[what]


class _Worker:
    """An actor of the pool: builds its scorer once, then scores block after block.

    What evalkit refuses is an answer, not an exception: that would come back as a page of Ray's own frames.
    """

    def __init__(self, spec: ScorerSpec, expected: Place, attempts: Any, retries: int, workers: int) -> None:
        self._attempts, self._retries = attempts, retries
        self._refusal: str | None = None
        deaths = self._begin(_LOADING) - (workers - 1)  # the others may be loading just now
        if deaths > retries * workers:
            self._refusal = f"{deaths} workers of Ray died while they loaded {spec.model}, one after the other; {_LESS}"
            return
        try:
            built = build_scorer(spec)
            _check_place(expected, place_of(built))
            self._scorer = built.scorer
        except EvalkitError as error:
            self._refusal = f"on a worker: {error}"
        self._attempts.succeeded.remote(_LOADING)

    def __call__(self, table: Any) -> Any:
        number, batches = blocks.batches_of(table)
        if self._refusal is not None:
            return blocks.refusal(number, self._refusal)
        deaths = self._begin(number)
        if deaths > self._retries:
            return blocks.refusal(number, f"{deaths} workers of Ray died over the same batches, one by one; {_LESS}")
        try:
            done = joined(list(self._scorer.runner.run(batches)))
        except EvalkitError as error:
            return blocks.refusal(number, f"on a worker: {error}")
        again = (f"a block was scored again, for {deaths} of Ray's workers died over it",) if deaths else ()
        return blocks.answer(number, replace(done, events=(*again, *done.events)))

    def _begin(self, what: int | str) -> int:
        import ray

        return int(ray.get(self._attempts.begin.remote(what)))


_LOADING = "loading"
_LESS = "too little memory for so many? lower executor.workers or reranker.batch_tokens"


# --- what is refused, and what Ray says, in a sentence ----------------------------------------------------------------


def _share(settings: RaySettings) -> dict[str, float]:
    """Return what Ray gives to a worker: either kind, for Ray Data calls both at once an experiment."""
    return {"num_gpus": settings.num_gpus} if settings.num_gpus else {"num_cpus": settings.num_cpus}


def _room(settings: RaySettings, there: Mapping[str, float]) -> int:
    """Return how many workers are asked for, or fit if nobody says."""
    kind, each = ("GPU", settings.num_gpus) if settings.num_gpus else ("CPU", settings.num_cpus)
    room = int(there.get(kind, 0) / each + 1e-9)
    if room >= (settings.workers or 1):
        return settings.workers or room
    if room:
        instead = f"lower executor.workers to {room}"
    elif kind == "GPU":
        instead = "use executor.num_gpus=0 executor.num_cpus=N for workers on CPUs"
    else:
        instead = "lower executor.num_cpus"
    raise EvalkitError(
        f"executor.workers={settings.workers or 1} with {each:g} {kind}s each do not fit: the Ray cluster at "
        f"executor.address={settings.address} has {there.get(kind, 0):g}; {instead}, or add nodes"
    )


def _check_software(evalkit: str, place: Place) -> None:
    torch = version("torch").partition("+")[0]
    here = {"evalkit": __version__, "torch": torch, "transformers": version("transformers")}
    there = {"evalkit": evalkit, "torch": place.torch, "transformers": place.transformers}
    for name, wanted in here.items():
        if there[name] != wanted:
            raise EvalkitError(
                f"the workers have {name} {there[name]}, and here is {name} {wanted}: install the same on all nodes"
            )


def _check_place(expected: Place, place: Place) -> None:
    for name in (field.name for field in fields(expected)):
        one, other = getattr(expected, name), getattr(place, name)
        if one != other:
            raise EvalkitError(
                f"its {name} is {other}, and that of the worker asked first is {one}: scores would differ with the "
                "worker that they come from; use nodes of one kind, with one model on all of them"
            )


@contextmanager
def _own_sigterm() -> Iterator[None]:
    """Keep this process's own answer to SIGTERM: Ray puts one in its place, and a page of addresses before it."""
    before = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, before)


@contextmanager
def _no_standard_error() -> Iterator[None]:
    """Close file descriptor 2 for a moment: Ray's own library writes there how loud it was told to be."""
    kept, nothing = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nothing, 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nothing)


@contextmanager
def _told(settings: RaySettings) -> Iterator[None]:
    """Say in one sentence what Ray raises; what is no fault of the cluster's comes as it is."""
    from ray import exceptions
    from ray.data.exceptions import ExecutionTimeoutError

    try:
        yield
    except (exceptions.GetTimeoutError, ExecutionTimeoutError):
        raise EvalkitError(
            f"no worker of Ray answered for {settings.timeout_s:g} s: they hang, die as soon as they begin, or the "
            "cluster has no room for one; raise executor.timeout_s if the model takes so long to load"
        ) from None
    except (exceptions.RayActorError, exceptions.WorkerCrashedError, exceptions.OutOfMemoryError) as error:
        raise EvalkitError(f"a worker of Ray died ({_first_line(error)}); {_LESS}") from None


def _first_line(error: Exception) -> str:
    return next(iter(str(error).strip().splitlines()), type(error).__name__).rstrip(".")
