"""Which runs of two commits are compared with one another."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from evalkit.boundary.errors import EvalkitError
from evalkit.results.history.commits import between
from evalkit.results.history.entry import HistoryEntry, is_same_setting
from tests.helpers.history import entry

A, B, C = "aaa1" + "0" * 36, "aaa2" + "0" * 36, "bbb" + "0" * 37


@pytest.fixture
def there(tmp_path: Path) -> Path:
    for name in "1234":
        (tmp_path / name).mkdir()
        (tmp_path / name / "result.json").touch()
    return tmp_path


def pairs(entries: list[HistoryEntry], before: str = A, after: str = C) -> list[str]:
    found = between(entries, before, after).pairs
    return [Path(pair.before.folder).name + Path(pair.after.folder).name for pair in found]


def test_the_newest_run_of_each_setting_is_compared(there: Path) -> None:
    runs = [
        entry(str(there / "4"), commit=C, precision="int8"),
        entry(str(there / "3"), commit=C),
        entry(str(there / "2"), commit=A),
        entry(str(there / "1"), commit=A),
    ]
    assert pairs(runs) == ["23"]
    assert between(runs, A, C).notes == ["only at bbb0000000: dev/en, bm25 + packaged at int8, depth 20"]
    assert pairs([*runs, replace(runs[0], folder=str(there / "1"), commit=A)]) == ["23", "14"]


def test_changes_on_top_of_a_commit_and_folders_that_are_gone_are_named(there: Path) -> None:
    runs = [entry("/gone", commit=C), entry(str(there / "2"), commit=C, dirty=True), entry(str(there / "1"), commit=A)]
    assert pairs(runs) == ["12"]
    assert between(runs, A, C).notes == [
        "left out: 1 of 2 runs at bbb0000000, whose folders are gone",
        f"{there / '2'} was run with uncommitted changes on top of bbb0000000",
    ]


@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        ("aaa", "bbb", "--between aaa: 2 commits of the history start so; there is aaa2000000, aaa1000000"),
        ("aaa1", "ccc", "--between ccc: the history has no run at that commit; there is bbb0000000, aaa2000000, "),
        ("aaa1", "", "--between : the history has no run at that commit"),
        ("aaa1", "--all", "--between --all: the history has no run at that commit"),
        ("bbb", "BBB", "--between bbb BBB: both are commit bbb0000000; name two"),
        ("aaa2", "bbb", "no setting has a finished run at both commits: aaa2000000 has no run whose folder is still "
                        "there; bbb0000000 has dev/en, bm25 + packaged at fp32, depth 20 on a CPU"),
    ],
)  # fmt: skip
def test_what_cannot_be_compared_is_one_sentence(there: Path, before: str, after: str, message: str) -> None:
    runs = [entry(str(there / "3"), commit=C), entry("/gone", commit=B), entry(str(there / "1"), commit=A)]
    with pytest.raises(EvalkitError) as refused:
        between(runs, before, after)
    assert message in str(refused.value)


def test_a_name_that_git_knows_stands_for_its_commit(there: Path) -> None:
    from evalkit.results import provenance
    from tests.conftest import REPOSITORY

    head = provenance.git_state(REPOSITORY)["commit"]
    if head is None:
        pytest.skip("not a checkout")
    assert pairs([entry(str(there / "2"), commit=head), entry(str(there / "1"), commit=A)], A, "HEAD") == ["12"]


def test_settings_are_the_same_if_all_that_both_record_is_equal() -> None:
    one = entry()
    assert is_same_setting(one, entry("/other", commit=C, after=0.1, queries=74))
    assert is_same_setting(one, entry(runtime=None))  # an older result, without the field
    assert is_same_setting(one, entry(settings={**one.settings, "reranker.new": True}))
    assert not is_same_setting(one, entry(settings={"reranker.max_length": 512}))
    assert not is_same_setting(one, entry(reranker=None))
    others: dict[str, Any] = {
        "fingerprint": "g", "depth": 10, "precision": "int8", "runtime": "openvino", "device": "a GPU",
        "first_stage": "dense", "relevance_level": 2,
    }  # fmt: skip
    for field, other in others.items():
        assert not is_same_setting(one, entry(**{field: other}))
