"""Quick checks on the terminal: foreign text is inert, long lists and long texts are cut, and the figures are there."""

from typing import Any

import pytest

from evalkit.report import terminal
from evalkit.rerankers import side_by_side
from evalkit.rerankers.quickcheck import QuickCheck, RankedPassage, RankedQuery


def check(*texts: str, query: str = "q", tokens: int | None = 9, ids: Any = None, **facts: Any) -> QuickCheck:
    passages = tuple(
        RankedPassage(n, -float(n), text, n, ids and ids[n - 1], tokens, None if tokens is None else n == 1)
        for n, text in enumerate(texts, 1)
    )
    ranked = RankedQuery(None, query, passages, texts[0], None)
    return QuickCheck({"name": "one", **facts}, (ranked,), 0.0, True, min(len(texts), 20), 1)


def shown(capsys: pytest.CaptureFixture[str], of: QuickCheck) -> str:
    terminal.show_quickcheck(of)
    return capsys.readouterr().out


def test_rank_logit_sigmoid_tokens_and_number_stand_before_the_text(capsys: pytest.CaptureFixture[str]) -> None:
    rows = [line.split() for line in shown(capsys, check("one text", "another")).splitlines() if line.startswith("│")]
    assert [[cell for cell in row if cell != "│"] for row in rows] == [
        ["1", "-1.0000", "0.2689", "9", "(cut)", "1", "one", "text"],  # 1 / (1 + e) = 0.2689
        ["2", "-2.0000", "0.1192", "9", "2", "another"],  # 1 / (1 + e**2) = 0.1192
    ]


def test_ids_are_shown_where_the_file_has_them(capsys: pytest.CaptureFixture[str]) -> None:
    assert "1: doc-7" in shown(capsys, check("a", "b", ids=("doc-7", None)))


def test_without_tokens_there_is_no_column_for_them(capsys: pytest.CaptureFixture[str]) -> None:
    assert "tokens ┃" not in shown(capsys, check("a", tokens=None))


def test_texts_cannot_command_the_terminal(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CI", "true")
    hostile = "[bold]x[/bold] \x1b[2J\x07::error::y \u2028 :smile:"
    text = shown(capsys, check(hostile, query=hostile, ids=(hostile,)))
    assert [one for one in ("\x1b", "\x07", "::error::") if one in text] == []
    assert "[bold]x[/bold]" in text
    assert ":smile:" in text


def test_long_texts_are_cut_and_stay_on_one_line_of_words(capsys: pytest.CaptureFixture[str]) -> None:
    text = shown(capsys, check("two\n\nlines", "z" * 500, query="q\n" * 500))
    assert "two lines" in text
    table = [line for line in text.splitlines() if line.startswith("│")]
    assert sum(line.count("z") for line in table) == 160
    assert "query: q q q" in text
    assert sum(line.count("q ") for line in text.splitlines() if line.startswith("query: ")) == 100  # 200 characters


def test_of_many_passages_the_best_twenty_are_shown(capsys: pytest.CaptureFixture[str]) -> None:
    text = shown(capsys, check(*(f"passage-{n}" for n in range(1, 1001))))
    assert "passage-20 " in text
    assert "passage-21 " not in text
    assert "the best 20 of 1,000 passages" in text
    assert "one by one (20 of 1,000 pairs), the logits agree" in text


def test_truncated_pairs_are_counted_with_their_limit(capsys: pytest.CaptureFixture[str]) -> None:
    assert "1 of 2 pairs of more than reranker.max_length=256 tokens was truncated" in shown(
        capsys, check("a", "b", max_length=256)
    )


def test_side_by_side_many_passages_are_cut_too(capsys: pytest.CaptureFixture[str]) -> None:
    many = check(*(f"passage-{n}" for n in range(1, 101)), model="m")
    terminal.show_side_by_side(side_by_side.compare({"precision=fp32": many, "precision=bf16": many}))
    text = capsys.readouterr().out
    assert "passage-20 " in text
    assert "passage-21 " not in text
    assert "the best 20 of 100 passages" in text
    assert (
        "precision=bf16 against precision=fp32: Kendall's tau 1.0000 over 100 passages; the same model, whose logits "
        "differ by 0.0e+00 at most"
    ) in text
