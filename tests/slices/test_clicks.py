"""Labels from clicks: clicks over expected examinations, by hand, and with users whose behaviour is known."""

from pathlib import Path

import pytest

from evalkit.boundary.errors import EvalkitError
from evalkit.slices import clicks, labels
from evalkit.slices.clicks import ClickModel
from tests.helpers.command_line import run_here, sentence

LOG = "query_id,doc_id,rank,impressions,clicks\n"


def log(tmp_path: Path, text: str, name: str = "log.csv") -> Path:
    (tmp_path / name).write_text(text, "utf-8")
    return tmp_path / name


def test_a_grade_is_how_many_thresholds_clicks_over_examinations_reach(tmp_path: Path) -> None:
    path = log(tmp_path, f"{LOG}q,a,1,20,1\nq,b,2,40,3\nq,c,4,80,8\nq,d,2,38,38\n")
    found = clicks.estimate(path, ClickModel())
    # Examinations 20, 40 / 2, 80 / 4: 1 / 20, 3 / 20, 8 / 20. d has 19, one too few. By clickthrough rate b has
    # 3 / 40 and c 8 / 80, one grade less each.
    assert found.grades == {"q": {"a": 0, "b": 1, "c": 2}}
    assert (found.impressions, found.clicks, found.pairs, found.changed) == (178, 50, 4, 2)
    assert dict(found.by_grade) == {0: 1, 1: 1, 2: 1}


def test_single_impressions_are_summed_over_ranks(tmp_path: Path) -> None:
    row = '{{"query_id": "q", "doc_id": "a", "rank": {}, "clicked": {}}}\n'
    path = log(tmp_path, row.format(1, 1) + row.format(2, 0) + row.format(2, "true"), "log.jsonl")
    found = clicks.estimate(path, ClickModel(min_examinations=2, thresholds=(0.9, 1.1)))
    assert (found.grades, found.above_one) == ({"q": {"a": 1}}, 0)  # 2 clicks, 1 + 1/2 + 1/2 examinations


def test_users_of_the_model_give_a_passage_the_same_grade_at_every_rank(tmp_path: Path) -> None:
    """Expected clicks of 1,200 users who examine rank r with chance 1 / r, on passages that attract 0.4 of them."""
    path = log(tmp_path, LOG + "".join(f"q,d{r},{r},1200,{480 // r}\n" for r in (1, 2, 3, 4, 5, 6)))
    assert set(clicks.estimate(path, ClickModel()).grades["q"].values()) == {2}
    uncorrected = clicks.estimate(path, ClickModel(eta=0)).grades["q"]
    assert uncorrected == {"d1": 2, "d2": 1, "d3": 1, "d4": 1, "d5": 0, "d6": 0}


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("q,a,0,5,1", "log.csv, line 2: a row has query_id, doc_id, rank from 1 on, and clicked"),
        ("q,a,1,5,6", "with as many clicks or fewer"),
        ("q,a,1,x,1", "impressions 'x'"),
        ("q,a,1,5,1", "no passage has 20 expected examinations for a query (the most is 5)"),
    ],
)
def test_a_log_that_makes_no_sense_or_is_too_short_is_refused(tmp_path: Path, row: str, message: str) -> None:
    with pytest.raises(EvalkitError) as caught:
        clicks.estimate(log(tmp_path, f"{LOG}{row}\n"), ClickModel())
    assert message in str(caught.value)


def test_the_command_names_the_bias_and_writes_labels_that_state_their_model(tmp_path: Path) -> None:
    log(tmp_path, f"{LOG}q,a,1,20,1\nq,b,9,180,40\n")
    done = run_here("clicks", "log.csv", "--output", "c.tsv", "--thresholds", "0.5", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "1 pair with more clicks than expected examinations" in done.stdout
    assert "bias that is left: eta is an assumption" in done.stdout
    (one,) = labels.read(tmp_path / "c.tsv").values()
    assert (one.name, one.kind, one.source) == ("pbm", "clicks", "eta=1 examinations>=20 grades=0.5")
    assert one.grades == {"q": {"a": 0, "b": 1}}
    again = run_here("clicks", "log.csv", "--output", "c.tsv", cwd=tmp_path)
    assert "exists already; name another --output, or add --overwrite" in sentence(again.stderr)
    for argument, message in (("--eta=-1", "give 0 or more"), ("--thresholds=2,1", "give ascending numbers above 0")):
        refused = run_here("clicks", "log.csv", "--output", "d.tsv", argument, cwd=tmp_path)
        assert message in sentence(refused.stderr)
