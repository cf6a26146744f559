"""Checks the settings that slices of every source share."""

from collections.abc import Iterable

from evalkit.boundary.errors import EvalkitError
from evalkit.slices import exclusions


def check_settings(corpus: str, unjudged_queries: str, empty_docs: str, identical_ids: str = "auto") -> None:
    """Check the settings that have a fixed list of values.

    Args:
        corpus: the value of ``slice.corpus``.
        unjudged_queries: the value of ``slice.unjudged_queries``.
        empty_docs: the value of ``slice.empty_docs``.
        identical_ids: the value of ``slice.identical_ids``.

    Raises:
        EvalkitError: a setting has an invalid value.
    """
    check_choice("slice.corpus", corpus, ("full", "judged"))
    check_choice("slice.unjudged_queries", unjudged_queries, ("error", "drop"))
    check_choice("slice.empty_docs", empty_docs, ("error", "drop"))
    check_choice("slice.identical_ids", identical_ids, exclusions.MODES)


def check_level(relevance_level: int) -> None:
    """Check the lowest grade that binary measures count as relevant.

    Args:
        relevance_level: the value of ``slice.relevance_level``.

    Raises:
        EvalkitError: it is below 1.
    """
    if relevance_level < 1:
        raise EvalkitError(
            f"slice.relevance_level={relevance_level}: give the lowest grade that counts as relevant, 1 or more; "
            "grade 0 means 'not relevant'"
        )


def check_choice(setting: str, value: str, valid: Iterable[str]) -> str:
    """Return `value` if it is valid.

    Args:
        setting: the name of the setting, for the message.
        value: its value.
        valid: the values that it can have.

    Raises:
        EvalkitError: it is not; the message names the setting and the valid values.
    """
    names = list(valid)
    if value not in names:
        raise EvalkitError(f"{setting}={value!r}: choose from {', '.join(names)}")
    return value
