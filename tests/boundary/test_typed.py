import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import pytest

from evalkit.boundary.typed import Id, Line, strict, typed


@pytest.mark.parametrize(
    ("hint", "value", "why"),
    [
        (int, True, "n is True, and has to be an integer"),
        (int, 2**63, f"n is {2**63}, and has to be an integer of 64 bits"),
        (float, "1", "n is '1', and has to be a number"),
        (float, float("inf"), "n is inf, and has to be a finite number"),
        (bool, 1, "n is 1, and has to be true or false"),
        (str | None, 3, "n is 3, and has to be a text or null"),
        (int | str, [1], "n is a list, and has to be an integer or a text"),
        (Sequence[int], [1, "a"], "n.1 is 'a', and has to be an integer"),
        (tuple[str, ...], "ab", "n is 'ab', and has to be a list"),
        (Mapping[str, int], {"a": "b"}, "n.a is 'b', and has to be an integer"),
        (Mapping[str, int], {1: 2}, "a name in n is 1, and has to be a text"),
        (Mapping[str, int] | None, [], "n is a list, and has to be a mapping or null"),
    ],
)
def test_a_value_of_another_type_is_refused_with_what_it_has_to_be(hint: Any, value: Any, why: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(why)}$"):
        typed(strict(hint), value, "n")


@pytest.mark.parametrize(
    ("hint", "value"),
    [
        (float, 1),
        (int | None, None),
        (Sequence[str], ["a"]),
        (Path, "a/b"),
        (Literal["x"], "y"),
        (Any, 3),
        ("int", "x"),
    ],
)
def test_what_fits_is_accepted_and_hints_beyond_plain_values_are_left_to_their_code(hint: Any, value: Any) -> None:
    assert typed(strict(hint), value) == value


@pytest.mark.parametrize(
    ("definition", "value", "what"),
    [(Line, "a\nb", "a text of one line"), (Id, "a b", "an id without white space"), (Id, "", "an id without white")],
)
def test_names_and_ids_have_no_characters_that_would_break_a_file(definition: Any, value: str, what: str) -> None:
    with pytest.raises(ValueError, match=what):
        typed(definition, value)
