"""The leaderboard of each slice."""

from evalkit.results.history.leaderboards import leaderboards
from tests.helpers.history import entry


def test_a_slice_has_the_newest_run_of_each_setting_best_first() -> None:
    runs = [
        entry("/1", after=0.9, ended="2026-01-01"),
        entry("/2", after=0.7, ended="2026-01-02"),  # of the same setting, and newer
        entry("/3", after=0.8, ended="2026-01-03", precision="int8"),
    ]
    (board,) = leaderboards(runs)
    assert [(one.newest.folder, one.runs) for one in board.standings] == [("/3", 1), ("/2", 2)]
    assert [(place, run.folder) for place, run in board.runs] == [(1, "/1"), (1, "/2"), (0, "/3")]
    assert (board.slice, board.measure, board.queries) == ("dev/en", "nDCG@10", 74)


def test_slices_of_one_name_with_other_data_are_apart() -> None:
    of_recall = entry("/4", measure="R@20", means={"R@20": 0.5})
    runs = [entry("/1"), entry("/2", fingerprint="g"), entry("/3", relevance_level=2), of_recall]
    assert [len(board.runs) for board in leaderboards(runs)] == [1, 1, 1, 1]


def test_settings_of_one_name_are_distinguished_by_what_differs() -> None:
    runs = [
        entry("/1", after=0.9, settings={"reranker.max_length": 512}, depth=50),
        entry("/2", after=0.8, settings={"reranker.max_length": 256}, depth=50),
        entry("/3", after=0.7, settings={"reranker.max_length": 512}, depth=20, device="a GPU"),
    ]
    (board,) = leaderboards(runs)
    assert [one.label for one in board.standings] == [
        "bm25 + packaged at fp32, max_length 512, depth 50, a CPU",
        "bm25 + packaged at fp32, max_length 256, depth 50, a CPU",
        "bm25 + packaged at fp32, max_length 512, depth 20, a GPU",
    ]


def test_many_runs_of_few_settings_are_grouped_in_no_time() -> None:
    runs = [entry(f"/{n}", after=0.5 + n % 7 / 100, depth=10 + n % 7, ended=f"{n:06}") for n in range(3000)]
    (board,) = leaderboards(runs)
    assert [one.newest.depth for one in board.standings] == [16, 15, 14, 13, 12, 11, 10]
    assert sum(one.runs for one in board.standings) == 3000
