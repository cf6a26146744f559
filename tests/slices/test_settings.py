import pytest

from evalkit.boundary.errors import EvalkitError
from evalkit.slices.settings import check_choice


def test_a_choice_that_there_is_not_is_refused_with_those_there_are() -> None:
    assert check_choice("slice.corpus", "full", ("full", "judged")) == "full"
    with pytest.raises(EvalkitError, match=r"slice\.corpus='ful': choose from full, judged"):
        check_choice("slice.corpus", "ful", ("full", "judged"))
