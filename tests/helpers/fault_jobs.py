"""What goes wrong in a trial's process, as jobs for one: small, so that the process starts in no time."""

import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

from evalkit.boundary.atomic import atomic_folder
from evalkit.boundary.progress import stage
from evalkit.cli.child_process import in_parent, tell_parent


class UnsendableError(Exception):
    """Cannot be put together again out of its message alone, as some libraries' errors."""

    def __init__(self, one: Any, other: Any) -> None:
        super().__init__(f"{one} and {other}")


def add(one: Any, other: Any) -> Any:
    return one + other


def process_id() -> Any:
    return os.getpid()


def both_process_ids() -> Any:
    return os.getpid(), in_parent(process_id)


def fail_in_parent() -> Any:
    return in_parent(fail, "a kind")


def be_stopped_while_the_parent_works() -> Any:
    return in_parent(stop, os.getpid())


def stop(process: int) -> str:
    os.kill(process, signal.SIGTERM)
    time.sleep(0.2)  # it ends meanwhile
    return "too late"


def tell_twice_and_die(number: Any) -> Any:
    tell_parent("one")
    tell_parent("other")
    if number:
        os.kill(os.getpid(), number)
    return "done"


def imported(*names: str) -> Any:
    return [name in sys.modules for name in names]


def fail(kind: Any) -> None:
    if kind == "unsendable":
        raise UnsendableError("this", "that")
    raise ValueError("a defect")


def die(number: Any) -> None:
    with stage("scoring", 1434, "pairs") as advance:
        advance(830)
        os.kill(os.getpid(), number)
        time.sleep(60)


def hang(left: Path, deaf: bool = False) -> None:
    """Write down which process this is, and which exception ended it."""
    if deaf:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    left.write_text(str(os.getpid()))
    try:
        with stage("waiting"):
            time.sleep(60)
    except BaseException as error:
        left.with_suffix(".caught").write_text(type(error).__name__)
        raise


def die_while_writing(folder: Path) -> None:
    with atomic_folder(folder, "result.json") as part:
        (part / "reranked.trec").write_text("half of")
        os.kill(os.getpid(), signal.SIGKILL)


def die_while_keeping(folder: str) -> None:
    """Die by SIGKILL with the first array of an index on the disk."""
    from evalkit.boundary import index_cache

    def make() -> Any:
        return {"one": np.arange(1000), "two": Deadly()}

    import numpy as np

    class Deadly:
        nbytes = 0

        @property
        def shape(self) -> None:
            os.kill(os.getpid(), signal.SIGKILL)

    place = index_cache.Cache(Path(folder), is_shared=False)
    place.get_or_create("test", {}, {"d": "text"}, make, lambda arrays: arrays, lambda arrays: arrays)
