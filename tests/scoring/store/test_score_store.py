"""Stored scores are returned bit for bit, after crashes, on full disks and from damaged files."""

import os
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from evalkit.boundary import cache_dirs, index_cache, sqlite_file
from evalkit.boundary.errors import EvalkitError
from evalkit.boundary.index_cache import Cache
from evalkit.cli import commands
from evalkit.scoring.store import database, maintenance, score_store
from evalkit.scoring.store.score_store import SPACE, ScoreStore, pair_keys
from tests.conftest import REPOSITORY

CONDITIONS = {
    "model": "BAAI/bge-reranker-v2-m3", "revision": "953dc6f6f85a", "tokenizer": "XLMRobertaTokenizer",
    "precision": "fp16", "device": "cuda", "attention": "packed, flash", "max_length": 512,
    "truncation": "only_second", "engine": 1, "torch": "2.6.0",
}  # fmt: skip


def texts_of(number: Any, pairs: Any = 16) -> Any:
    return [(f"query {row % 3}", f"passage {number}, {row}") for row in range(pairs)]


def batch(number: Any, pairs: Any = 16) -> Any:
    """Keys, logits, truncated and tokens of a batch, the same each time."""
    draw = np.random.default_rng(number)
    logits = draw.standard_normal(pairs).astype(np.float32)
    return pair_keys(texts_of(number, pairs)), logits, logits > 1, draw.integers(3, 513, pairs)


def filled(path: Any, batches: Any = 20, space: Any = CONDITIONS) -> Any:
    with ScoreStore(path, space) as store:
        for number in range(batches):
            store.add(*batch(number))
    return path


def stored_pairs(path: Any, numbers: Any, space: Any = CONDITIONS) -> Any:
    """Return how many pairs of each of these batches are stored; their scores are those that were added."""
    keys, logits, truncated, tokens = map(np.concatenate, zip(*map(batch, numbers), strict=True))
    with ScoreStore(path, space) as store:
        known = store.look_up(keys)
    there = np.isfinite(known.logits)
    assert known.logits[there].tobytes() == logits[there].tobytes()
    assert known.truncated.tolist() == (truncated & there).tolist()
    assert known.tokens.tolist() == (tokens * there).tolist()
    return there.reshape(-1, 16).sum(axis=1).tolist()


def stored_pairs_of(path: Any, number: Any, space: Any = CONDITIONS) -> Any:
    return stored_pairs(path, [number], space)[0]


@pytest.fixture
def path(tmp_path: Path) -> Any:
    return tmp_path / "scores.sqlite"


def refusal(path: Any, *words: Any) -> Any:
    """Return the message with which the store at `path` is refused; it names the file and an alternative."""
    with pytest.raises(EvalkitError) as refused:
        stored_pairs_of(path, 0)
    sentence = str(refused.value)
    for word in (str(path), "store=off", *words):
        assert word in sentence
    assert "\n" not in sentence
    return sentence


# --- what is stored


def test_a_logit_is_returned_bit_for_bit_and_nan_and_infinity_are_not_stored(path: Any) -> None:
    fresh = count()
    with ScoreStore(path, CONDITIONS) as store:

        @settings(max_examples=60, deadline=None)
        @example(bits=[0x7F800000, 0xFF800000, 0x7FC00000, 0x80000000, 0x00000001, 0x3F800000], tokens=512)
        @given(bits=st.lists(st.integers(0, 2**32 - 1), min_size=1, max_size=30), tokens=st.integers(0, 2**31 - 1))
        def holds(bits: Any, tokens: Any) -> None:
            logits = np.array(bits, dtype=np.uint32).view(np.float32)
            example = next(fresh)
            keys = pair_keys([(f"query {example}", str(row)) for row in range(len(bits))])
            cut = np.arange(len(bits)) % 2 == 1
            store.add(keys, logits, cut, np.full(len(bits), tokens))
            known, backwards = store.look_up(keys), store.look_up(keys[::-1])
            finite = np.isfinite(logits)
            assert known.logits[finite].tobytes() == logits[finite].tobytes()
            assert np.isnan(known.logits[~finite]).all()
            assert known.truncated.tolist() == (cut & finite).tolist()
            assert known.tokens.tolist() == [tokens if ok else 0 for ok in finite]
            assert backwards.logits.tobytes() == known.logits[::-1].tobytes()

        holds()


def test_a_look_up_returns_nan_for_unknown_pairs_and_may_repeat_pairs(path: Any) -> None:
    keys, logits, *_ = batch(1)
    with ScoreStore(path, CONDITIONS) as store:
        assert np.isnan(store.look_up(keys).logits).all()
        store.add(*batch(1))
        asked = np.concatenate([keys[3:4], pair_keys([("query 0", "a new passage")]), keys[3:4]])
        assert store.look_up(asked).logits[[0, 2]].tolist() == [logits[3]] * 2
        assert np.isnan(store.look_up(asked).logits[1])
        assert len(store.look_up(keys[:0]).logits) == 0


def test_the_score_that_was_stored_first_is_used(path: Any) -> None:
    keys = pair_keys([("q", "p")])
    with ScoreStore(path, CONDITIONS) as store:
        for logit in (0.25, 0.75):
            store.add(keys, np.array([logit], np.float32), np.array([False]), np.array([9]))
        assert store.look_up(keys).logits.tolist() == [0.25]


def test_pairs_with_equal_first_halves_of_their_keys_are_distinguished(path: Any) -> None:
    first, second = np.array([[7, 1]], np.uint64), np.array([[7, 2]], np.uint64)
    with ScoreStore(path, CONDITIONS) as store:
        store.add(first, np.array([0.5], np.float32), np.array([False]), np.array([9]))
        assert np.isnan(store.look_up(second).logits).all()
        assert store.look_up(np.concatenate([second, first])).logits[1] == 0.5


def test_pairs_are_found_in_a_space_that_is_read_in_several_parts(path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(score_store, "READ_BYTES", 1000)  # three batches
    filled(path)
    assert stored_pairs(path, range(21)) == [16] * 20 + [0]


@pytest.mark.parametrize("part", SPACE)
def test_a_score_is_found_under_its_own_conditions_only(path: Any, part: Any) -> None:
    filled(path, batches=1)
    other = CONDITIONS | {part: 513 if part == "max_length" else "another"}
    assert (stored_pairs_of(path, 0), stored_pairs_of(path, 0, other)) == (16, 0)
    with pytest.raises(ValueError, match=f"a space without {part} would mix scores"):
        ScoreStore(path, {key: value for key, value in CONDITIONS.items() if key != part})


def test_the_order_of_the_conditions_does_not_matter(path: Any) -> None:
    filled(path, batches=1)
    assert stored_pairs_of(path, 0, dict(reversed(CONDITIONS.items()))) == 16


def test_different_texts_have_different_keys() -> None:
    texts = ["", "\0", "a", "a\0", "\0a", "b", "a ", "A", "á", "a\u0301", "\ud800", "\udfff", "\ufffd", "a\u200f",
             "\U0001f600", "x" * 2**20, "x" * 2**20 + "y"]  # fmt: skip
    pairs = [(query, passage) for query in texts for passage in texts]
    assert len({key.tobytes() for key in pair_keys(pairs)}) == len(pairs)
    assert pair_keys(pairs).tobytes() == np.concatenate([pair_keys([pair]) for pair in pairs]).tobytes()
    assert pair_keys([]).shape == (0, 2)


def test_the_key_of_a_pair_never_changes() -> None:
    # If this changes, existing stores become useless.
    assert pair_keys([("query", "passage")]).tobytes().hex() == "97452a70ac734e4f36ec7dd99a2d26a4"


# --- processes that die


def serve() -> None:
    """Fork a writer for each line of standard input, killed some time after some batches; a blank line waits."""
    for line in sys.stdin:
        if line.strip():
            path, first, last, batches, then_s = line.split()
            notes = Path(f"{path}.written")
            before = notes.stat().st_size if notes.exists() else 0
            writer = os.fork()
            if not writer:
                write(Path(path), notes, range(int(first), int(last)))
                os._exit(0)
            if then_s != "never":
                while batches != "0" and (notes.stat().st_size if notes.exists() else 0) < before + 8 * int(batches):
                    time.sleep(0.0001)
                time.sleep(float(then_s))
                os.kill(writer, signal.SIGKILL)
                os.waitpid(writer, 0)
            continue
        ended = []
        while True:
            try:
                ended.append(os.wait()[1])
            except ChildProcessError:
                break
        sys.stdout.write(" ".join(map(str, ended)) + "\n")
        sys.stdout.flush()


def write(path: Any, notes: Any, numbers: Any) -> None:
    """Add one batch after another, and write down the number of each that was added."""
    log = os.open(notes, os.O_CREAT | os.O_APPEND | os.O_WRONLY)
    with ScoreStore(path, CONDITIONS) as store:
        for number in numbers:
            store.add(*batch(number))
            os.write(log, f"{number:7}\n".encode())


@pytest.fixture(scope="module")
def forks() -> Any:
    """Return a function that sends lines to `serve`, in a process that forks in a millisecond, and waits."""
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(map(str, [REPOSITORY]))}
    server = subprocess.Popen(
        [sys.executable, "-c", "from tests.scoring.store import test_score_store; test_score_store.serve()"],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment,
    )  # fmt: skip

    assert server.stdin is not None
    assert server.stdout is not None
    asked, answers = server.stdin, server.stdout

    def run(*lines: Any) -> Any:
        print(*lines, "", sep="\n", file=asked, flush=True)
        return answers.readline().split()

    yield run
    asked.close()
    assert server.wait() == 0
    answers.close()


def test_a_killed_writer_loses_one_batch_at_most_and_damages_nothing(path: Any, forks: Any) -> None:
    draw = random.Random(5)
    complete, notes = 0, Path(f"{path}.written")
    for death in range(20):
        # Every fourth dies while it opens the store, or soon after.
        forks(f"{path} {complete} 1000000 {death % 4 and draw.randrange(1, 9)} {draw.uniform(0, 0.005)}")
        written = int(notes.read_text().split()[-1]) + 1 if notes.exists() and notes.read_text() else 0
        there = stored_pairs(path, range(complete, written + 2))
        complete += there.index(0)
        assert there == sorted(there, reverse=True)
        assert set(there) <= {0, 16}  # a batch is stored completely or not at all
        assert written <= complete <= written + 1
    assert not maintenance.find_errors(path)
    assert complete > 20
    assert stored_pairs(path, range(complete)) == [16] * complete


def test_several_processes_may_create_and_write_one_store(path: Any, forks: Any) -> None:
    ended = forks(*(f"{path} {first} {first + 40} 0 never" for first in (0, 20, 40, 60)))
    assert ended == ["0"] * 4
    assert not maintenance.find_errors(path)
    assert stored_pairs(path, range(101)) == [16] * 100 + [0]


def test_the_log_of_a_killed_writer_is_recovered_with_its_own_file_only(path: Any, forks: Any) -> None:
    forks(f"{path} 0 1000000 5 0")
    log = path.with_name(path.name + "-wal")
    logged = log.read_bytes()
    assert stored_pairs_of(path, 0) == 16
    path.write_bytes(b"")
    log.write_bytes(logged)
    refusal(path, "is damaged, or not a store at all (it is empty, and its log is not): move the file away")
    assert log.read_bytes() == logged  # SQLite alone would have discarded it


# --- damage


@pytest.fixture(scope="module")
def intact(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return filled(tmp_path_factory.mktemp("intact") / "scores.sqlite", batches=40).read_bytes()


def pairs_read_correctly(path: Any) -> Any:
    """Return how many pairs of the 40 batches are found, -1 if the file is refused; no score is wrong."""
    try:
        return sum(stored_pairs(path, range(40)))
    except EvalkitError:
        refusal(path)
        return -1


@pytest.mark.filterwarnings("ignore:Generating overly large repr")  # of the file, where an example fails
@settings(max_examples=40, deadline=None)
@given(at=st.floats(0, 1), garbage=st.binary(min_size=1, max_size=5000))
@example(at=0.109375, garbage=b"'\x80")
def test_garbage_in_the_file_is_never_returned_as_a_score(
    tmp_path_factory: pytest.TempPathFactory, intact: Any, at: Any, garbage: Any
) -> None:
    path = tmp_path_factory.mktemp("damaged") / "scores.sqlite"
    start = int(at * (len(intact) - len(garbage))) if len(garbage) < len(intact) else 0
    path.write_bytes(intact[:start] + garbage + intact[start + len(garbage) :])
    pairs_read_correctly(path)


@settings(max_examples=30, deadline=None)
@given(share=st.floats(0.001, 0.999))
def test_a_truncated_file_is_refused(tmp_path_factory: pytest.TempPathFactory, intact: Any, share: Any) -> None:
    path = tmp_path_factory.mktemp("cut") / "scores.sqlite"
    path.write_bytes(intact[: int(len(intact) * share)])
    assert pairs_read_correctly(path) == -1


@pytest.mark.parametrize(("first", "last"), [(0, 4096), (3, 5)], ids=["zeroed", "emptied"])
def test_the_loss_of_any_page_is_detected(path: Any, intact: Any, first: Any, last: Any) -> None:
    pages = range(0, len(intact), 4096)
    assert len(pages) > 5
    for start in pages:
        # https://www.sqlite.org/fileformat.html: bytes 3 and 4 of a page count its cells; the first begins at byte 100.
        at = start + first + (100 if first and not start else 0)
        path.write_bytes(intact[:at] + bytes(last - first) + intact[at + last - first :])
        assert pairs_read_correctly(path) == -1


def test_a_batch_in_the_wrong_space_is_detected(path: Any) -> None:
    filled(path, 1)
    filled(path, 1, CONDITIONS | {"precision": "fp32"})
    change(path, "UPDATE batches SET space = 1 WHERE id = 2")
    refusal(path, "batch 2 does not fit its checksum")


def test_a_file_of_garbage_is_refused_and_not_changed(path: Any) -> None:
    path.write_bytes(b"\x00garbage\xff" * 1000)
    refusal(path, "is damaged, or not a store at all (file is not a database)", "move the file away")
    assert path.read_bytes() == b"\x00garbage\xff" * 1000


def test_a_changed_score_is_detected_and_its_space_can_be_pruned(path: Any) -> None:
    filled(path)
    filled(path, 1, CONDITIONS | {"precision": "fp32"})
    data, blob = path.read_bytes(), batch(7)[1].tobytes()[:4]
    assert data.count(blob) == 1
    path.write_bytes(data.replace(blob, b"\x00\x00\x80\x3f"))  # 1.0: nothing that SQLite would notice
    digest = next(space.digest for space in maintenance.list_spaces(path) if space.conditions["precision"] == "fp16")
    refusal(path, "batch 8 does not fit its checksum", f"store prune --space {digest[:12]} --path {path}`")
    assert maintenance.find_errors(path) == (f"space {digest[:12]}: 1 batches do not fit their checksums",)
    maintenance.prune(path, space=digest[:12])
    assert not maintenance.find_errors(path)
    assert (stored_pairs_of(path, 0), stored_pairs_of(path, 0, CONDITIONS | {"precision": "fp32"})) == (0, 16)


def change(path: Any, *statements: Any) -> None:
    connection = sqlite3.connect(path)
    with connection:
        for statement in statements:
            connection.execute(statement)
    connection.close()


@pytest.mark.parametrize(
    ("statement", "words"),
    [
        ("PRAGMA user_version = 7", "was written by a newer evalkit (schema 7, and this one knows up to 1): update"),
        ("PRAGMA application_id = 7", "is a database of another program"),
        ("DROP INDEX batches_of_a_space", "its tables are not those of a store"),
        ("CREATE TRIGGER t AFTER INSERT ON batches BEGIN DELETE FROM spaces; END", "its tables are not those of"),
        ("UPDATE batches SET records = 'text' WHERE id = 3", "batch 3 does not fit its checksum"),
    ],
)
def test_a_database_that_is_not_a_store_is_refused(path: Any, statement: Any, words: Any) -> None:
    filled(path)
    change(path, statement)
    before = path.read_bytes()
    refusal(path, words)
    assert path.read_bytes() == before or "checksum" in words


def test_a_database_of_another_program_is_not_changed(path: Any) -> None:
    change(path, "CREATE TABLE bookmarks (url TEXT)")
    before = path.read_bytes()
    refusal(path, "is a database of another program, not a score store of evalkit: name another file with store=")
    assert path.read_bytes() == before


def test_a_description_that_does_not_match_its_digest_is_detected(path: Any) -> None:
    filled(path, 1)
    change(path, "UPDATE spaces SET described = '[]', used_s = 'long ago'")
    assert maintenance.list_spaces(path)[0].conditions == {}
    assert "what it describes does not fit its SHA-256" in maintenance.find_errors(path)[0]
    assert stored_pairs_of(path, 0) == 16  # its scores are found by the digest, which is intact


# --- unusable paths and full disks


def test_a_path_that_is_a_folder_or_below_a_file_is_refused(tmp_path: Path) -> None:
    refusal(tmp_path, "cannot be read and written (unable to open database file, SQLITE_CANTOPEN", "store=FILE")
    (tmp_path / "file").touch()
    refusal(tmp_path / "file" / "scores.sqlite", "cannot be read and written (", "store=FILE")


UNPRIVILEGED = f"""
import sys
from pathlib import Path
from evalkit.scoring.store.score_store import EvalkitError, ScoreStore
for path in sys.argv[1:]:
    try:
        ScoreStore(Path(path), {CONDITIONS})
    except EvalkitError as error:
        print(error)
"""


def test_a_store_without_permission_to_read_or_write_is_refused(tmp_path: Path, path: Any) -> None:
    filled(path, 1)
    paths = []
    for file_mode, folder_mode in ((0o000, 0o755), (0o444, 0o755), (0o644, 0o555), (None, 0o555)):
        folder = tmp_path / f"{file_mode}-{folder_mode}"
        folder.mkdir()
        paths.append(folder / "scores.sqlite")
        if file_mode is not None:
            shutil.copy(path, folder)
            paths[-1].chmod(file_mode)
        folder.chmod(folder_mode)
    paths.append(folder / "evalkit" / "scores.sqlite")  # no folder can be created in a read-only one
    # The superuser ignores permissions unless these capabilities are dropped.
    drop = ["setpriv", "--bounding-set=-dac_override,-dac_read_search"] if os.geteuid() == 0 else []
    if drop and not shutil.which("setpriv"):
        pytest.skip("runs as the superuser, and there is no setpriv")
    done = subprocess.run(
        [*drop, sys.executable, "-c", UNPRIVILEGED, *paths], capture_output=True, text=True, check=True
    )
    sentences = done.stdout.splitlines()
    assert len(sentences) == len(paths)
    for sentence, unusable in zip(sentences, paths, strict=True):
        assert sentence.startswith(f"the score store {unusable} cannot be read and written (")
        assert sentence.endswith("): name another file with store=FILE, or go without with store=off")


def test_a_network_file_system_is_refused(path: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    device = tmp_path.stat().st_dev
    line = "36 35 {}:{} / /home rw,noatime master:1 - {} server:/home rw\n"
    mounts = tmp_path / "mountinfo"
    mounts.write_text(line.format(0, 99999, "nfs") + line.format(os.major(device), os.minor(device), "ext4"))
    assert sqlite_file.network_file_system(tmp_path, mounts) is None
    mounts.write_text(line.format(os.major(device), os.minor(device), "nfs4"))
    assert sqlite_file.network_file_system(tmp_path, mounts) == "nfs4"
    assert sqlite_file.network_file_system(tmp_path, tmp_path / "none") is None
    monkeypatch.setattr(sqlite_file, "network_file_system", lambda folder: "nfs4")
    refusal(path, "where SQLite's write-ahead log does not work (nfs4): name a file on a local disk with store=")


@pytest.fixture
def full_disk(tmp_path: Path) -> Any:
    """A disk of 400 KB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=400k", "tmpfs", disk], capture_output=True, check=False)
    if done.returncode:
        pytest.skip("may not mount a file system here")
    yield disk
    subprocess.run(["umount", disk], check=True)


def fill(path: Any) -> Any:
    """Add batches until the disk is full; return how many were added, and the message."""
    with ScoreStore(path, CONDITIONS) as store:
        for number in count():
            try:
                store.add(*batch(number))
            except EvalkitError as error:
                with pytest.raises(EvalkitError):
                    store.add(*batch(number, 10_000))
                return number, str(error)
    raise AssertionError


def test_on_a_full_disk_what_was_stored_remains(full_disk: Any) -> None:
    path, filler = full_disk / "scores.sqlite", full_disk / "filler"
    filler.write_bytes(bytes(100_000))
    complete, message = fill(path)
    start = f"the disk of the score store {path} is full, and what was stored before remains: free some space"
    assert message.startswith(start)
    filler.unlink()
    assert complete > 20
    assert stored_pairs(path, range(complete)) == [16] * complete
    assert not maintenance.find_errors(path)
    assert stored_pairs_of(filled(path, complete + 1), complete) == 16  # it can be written again


def test_at_a_limit_on_file_sizes_what_was_stored_remains(path: Any) -> None:
    resource = pytest.importorskip("resource")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, limits[1]))
    try:
        complete, message = fill(path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert str(path) in message
    assert "store=off" in message
    assert complete > 20
    assert stored_pairs(path, range(complete)) == [16] * complete


def test_a_store_that_another_process_has_locked_is_refused(path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    filled(path, 1)
    monkeypatch.setattr(database, "KIND", replace(database.KIND, busy_timeout_s=0.05))
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    refusal(path, "has been locked by another process for 0 s: wait for it")
    other.close()
    assert stored_pairs_of(path, 0) == 16


# --- the path, and the command `evalkit store`


def test_the_store_is_in_the_cache_folder_by_default(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(sys, "platform", "linux")
    for name in ("EVALKIT_HOME", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache_dirs.default_store_path() == tmp_path / ".cache" / "evalkit" / "scores.sqlite"
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")
    assert cache_dirs.default_store_path() == tmp_path / ".cache" / "evalkit" / "scores.sqlite"
    monkeypatch.setenv("XDG_CACHE_HOME", "/cache")
    assert cache_dirs.default_store_path() == Path("/cache/evalkit/scores.sqlite")
    monkeypatch.setenv("EVALKIT_HOME", "~/stored")
    assert cache_dirs.default_store_path() == tmp_path / "stored" / "scores.sqlite"


@pytest.fixture
def run(path: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Any:
    """Run ``evalkit store ...`` on the store at `path`; return the exit code and the lines shown."""
    monkeypatch.setenv("EVALKIT_HOME", str(path.parent))

    def command(*arguments: Any) -> Any:
        code = commands.run(["store", *arguments], lambda overrides: {})
        return code, capsys.readouterr().out.splitlines()

    return command


def two_spaces(path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Twenty batches of fp16 used 40 days ago, ten of fp32 used now."""
    monkeypatch.setattr(score_store, "now_s", lambda: int(time.time()) - 40 * 86400)
    filled(path)
    monkeypatch.undo()
    monkeypatch.setenv("EVALKIT_HOME", str(path.parent))
    filled(path, 10, CONDITIONS | {"precision": "fp32"})


def test_the_command_shows_the_spaces(path: Any, run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    two_spaces(path, monkeypatch)
    code, (head, first, second) = run()
    assert code == 0
    assert head == f"{path}: 480 pairs in 2 spaces, {path.stat().st_size / 1e6:.1f} MB"
    today, before = (time.strftime("%Y-%m-%d", time.gmtime(time.time() - days * 86400)) for days in (0, 40))
    assert f"  160 pairs, last used {today}: model=BAAI/bge-reranker-v2-m3 revision=953dc6f6f85a" in first
    assert f"  320 pairs, last used {before}: " in second
    assert "precision=fp16 device=cuda attention=packed, flash max_length=512 truncation=only_second" in second


def test_pruning_removes_the_selected_spaces_and_frees_disk_space(
    path: Any, run: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    two_spaces(path, monkeypatch)
    before = path.stat().st_size
    assert run("prune", "--older-than", "41")[1] == ["removed 0 pairs from 0 spaces, 0.0 MB"]
    code, lines = run("prune", "--older-than", "39.5")
    assert (code, len(lines)) == (0, 2)
    assert lines[0].startswith("removed 320 pairs from 1 space, ")
    assert path.stat().st_size < before
    assert (stored_pairs_of(path, 0), stored_pairs_of(path, 0, CONDITIONS | {"precision": "fp32"})) == (0, 16)
    filled(path, 1)
    digest = next(space.digest for space in maintenance.list_spaces(path) if space.pairs == 16)
    assert run("prune", "--space", digest[:6])[1][0].startswith("removed 16 pairs from 1 space")
    assert run("prune", "--all")[1][0].startswith("removed 160 pairs from 1 space")
    assert maintenance.list_spaces(path) == ()


def test_indexes_are_shown_and_pruned_with_the_scores(path: Any, run: Any) -> None:
    def keep(name: Any, days: Any) -> Any:
        indexes = Cache(path.parent / "first_stage", is_shared=True)
        indexes.get_or_create(
            "bm25", {"name": name}, {"d": name}, lambda: None, lambda _: {"a": np.zeros(125_000)}, lambda _: None
        )
        [index] = [index for index in index_cache.list_entries(indexes.folder) if index.folder not in there]
        os.utime(index.folder / "manifest.json", (time.time() - days * 86400,) * 2)
        return there.setdefault(index.folder, days)

    there: dict[Path, int] = {}
    keep("old", 40), keep("new", 0)
    assert run()[1][1] == f"{path.parent / 'first_stage'}: 2 indexes, 2.0 MB"
    filled(path, 1)
    removed, index = run("prune", "--older-than", "39.5")[1][1:]
    assert removed == "removed 1 index, 1.0 MB"
    old = min(there, key=lambda folder: -there[folder])
    assert index.startswith(f"  {old.name}  1.0 MB, last used ")
    run("prune", "--space", maintenance.list_spaces(path)[0].digest)
    assert len(index_cache.list_entries(path.parent / "first_stage")) == 1
    keep("new again", 0)
    assert run("prune", "--all")[1][1] == "removed 2 indexes, 2.0 MB"
    assert not any((path.parent / "first_stage").iterdir())


def test_reading_an_index_updates_its_time_of_use(path: Any) -> None:
    indexes = Cache(path.parent / "first_stage", is_shared=True)
    for _ in range(2):
        indexes.get_or_create("bm25", {}, {"d": "x"}, lambda: None, lambda _: {"a": np.zeros(9)}, lambda _: None)
        [index] = index_cache.list_entries(indexes.folder)
        assert time.time() - index.used_s < 3600
        os.utime(index.folder / "manifest.json", (0, 0))


def test_a_space_that_is_pruned_during_a_run_is_created_again(path: Any) -> None:
    with ScoreStore(path, CONDITIONS) as store:
        store.add(*batch(0))
        maintenance.prune(path)
        store.add(*batch(1))
    assert (stored_pairs_of(path, 0), stored_pairs_of(path, 1)) == (0, 16)


def test_the_check_ends_with_exit_code_0_for_an_intact_store_and_1_for_a_damaged_one(path: Any, run: Any) -> None:
    assert run("check") == (0, [f"there is no score store at {path} yet"])
    filled(path)
    assert run("check") == (0, [f"{path}: all scores are intact"])
    change(path, "UPDATE batches SET checksum = 1 WHERE id < 4")
    code, (line,) = run("check")
    assert code == 1
    assert line.endswith(": 3 batches do not fit their checksums")


def test_control_characters_in_a_store_are_escaped(path: Any, run: Any) -> None:
    filled(path, 1, CONDITIONS | {"model": "\x1b[2J\nred"})
    assert "model=\\u001b[2J\\nred" in run()[1][1]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("prune", "store prune takes one of --older-than DAYS, --space ID and --all"),
        ("prune --all --space x", "store prune takes one of"),
        ("--all", "--all belongs to store prune"),
        ("prune --older-than -1", "--older-than -1: give a number of days, 0 or more"),
        ("prune --older-than nan", "--older-than nan: give a number of days"),
        ("prune --older-than soon", "invalid float value: 'soon'"),
        ("prune --space xyz", "--space xyz: 0 spaces start so; there is "),
        ("prune --space=", "0 spaces start so; there is "),
        ("purge", "invalid choice: 'purge'"),
    ],
)
def test_wrong_arguments_are_refused_and_remove_nothing(path: Any, run: Any, arguments: Any, message: Any) -> None:
    filled(path, 1)
    with pytest.raises(EvalkitError, match=message):
        run(*arguments.split())
    assert stored_pairs_of(path, 0) == 16
