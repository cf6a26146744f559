"""Tells systems of one name apart by the settings and facts in which they differ."""

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal, NamedTuple

Entry = Mapping[str, Any]


class Named(NamedTuple):
    """A system by its parts' names, and what is known of it."""

    label: str
    effective: Entry
    """Of a result: `first_stage`, `reranker`, `depth`."""
    side: Literal["first_stage", "reranked"] = "reranked"


def apart(systems: Sequence[Named], depth: bool = True) -> list[str]:
    """Return the systems' labels, each with the settings in which it differs from others with a part of that name.

    Two of one label get whatever differs. Of systems that share the name of a first stage or of a reranker alone, the
    settings that make other scores are named, so that a precision does not hide a length. Without `depth` it is not
    named. Systems that differ in nothing known keep one label.
    """
    telling = [dict(sorted(differ.items(), key=_order)) for differ in _differing(systems)]
    return [
        ", ".join([system.label, *(f"{key} {text}" for key, text in facts.items() if depth or key != "depth")])
        for system, facts in zip(systems, telling)
    ]


def differing(systems: Sequence[Named]) -> list[str]:
    """Return the names of the settings that `apart` would add."""
    return sorted({key for facts in _differing(systems) for key in facts}, key=lambda key: _order((key, "")))


def twice(labels: Sequence[str]) -> list[str]:
    """Return the labels that occur more than once."""
    return [label for label, count in Counter(labels).items() if count > 1]


def settings(facts: Entry, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Return what a part was set to, nested settings as ``analysis.stemmer``, without the circumstances of a run."""
    for key, value in facts.items():
        if key in _CIRCUMSTANCES:
            continue
        if isinstance(value, Mapping):
            yield from settings(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


_CIRCUMSTANCES = frozenset(
    """
    attention_source batch_tokens batch_tokens_source device devices dtype empty_hits engine excluded_hits from_cache
    hidden layers model_files most_ranked_of_a_query name notes padding parameters path_reason prompt_source
    queries_of_other_slices queries_where_rank_and_score_disagree ranked_but_no_candidate reranks self_check store tag
    tf32 threads token_types tokenizer tokenizer_source tokens_per_doc weights_ignored
    """.split()  # noqa: SIM905
)
"""Facts that follow from others or from the circumstances of a run, and are no setting that tells systems apart."""

_FIRST_TO_NAME = ("max_length", "depth", "truncation", "precision", "prompt", "model", "revision", "path", "attention")

_SCORES = ("max_length", "depth", "truncation", "prompt", "model", "revision")
"""What gives a reranker of one name other scores, at whatever precision and behind whatever first stage."""


def _order(fact: tuple[str, str]) -> tuple[int, str]:
    order = {key: place for place, key in enumerate(_FIRST_TO_NAME)}
    return order.get(fact[0], len(order)), fact[0]


def _differing(systems: Sequence[Named]) -> list[dict[str, str]]:
    """Return for each system setting -> what it is there, as far as it tells the system apart."""
    facts = [_facts(system) for system in systems]
    found: list[dict[str, str]] = [{} for _ in systems]

    def compare(places: Sequence[int], keys: Sequence[str] | None = None) -> None:
        known = dict.fromkeys(key for place in places for key in facts[place])
        for key in known if keys is None else keys:
            values = [facts[place].get(key, None) for place in places]
            if len({repr(value) for value in values}) > 1:
                for place, text in zip(places, _texts(values)):
                    found[place].setdefault(key, text)

    for label in twice([system.label for system in systems]):
        compare([place for place, system in enumerate(systems) if system.label == label])
    for name in _names(systems, "reranker"):
        compare([p for p, s in enumerate(systems) if _is(s, "reranker", name)], _SCORES)
    compare([place for place, system in enumerate(systems) if system.side == "reranked"], ["depth"])
    for name in _names(systems, "first_stage"):
        places = [p for p, s in enumerate(systems) if _is(s, "first_stage", name)]
        firsts = [dict(settings(systems[place].effective["first_stage"])) for place in places]
        for key in dict.fromkeys(key for of in firsts for key in of):
            values = [of.get(key) for of in firsts]
            if len({repr(value) for value in values}) > 1:
                for place, text in zip(places, _texts(values)):
                    prefix = "" if systems[place].side == "first_stage" else "first_stage."
                    found[place].setdefault(f"{prefix}{key}", text)
    return found


def _names(systems: Sequence[Named], part: str) -> list[str]:
    return list(dict.fromkeys(str(s.effective[part]["name"]) for s in systems if _has(s, part)))


def _has(system: Named, part: str) -> bool:
    return part == "first_stage" or system.side == "reranked"


def _is(system: Named, part: str, name: str) -> bool:
    return _has(system, part) and system.effective[part]["name"] == name


def _facts(system: Named) -> dict[str, Any]:
    """Return all that may tell a system from another of the same label."""
    facts = dict(settings(system.effective["first_stage"]))
    if system.side == "first_stage":
        return facts
    facts = {f"first_stage.{key}": value for key, value in facts.items()}
    return facts | dict(settings(system.effective["reranker"])) | {"depth": system.effective["depth"]}


def _texts(values: Sequence[Any]) -> list[str]:
    """Return values as they are read, cut short unless two that differ would look the same."""
    texts = [
        "none" if v is None else v if isinstance(v, str) else json.dumps(v, ensure_ascii=False, default=str)
        for v in values
    ]
    short = [text if len(text) <= 40 else f"{text[:37]}..." for text in texts]
    return short if len(set(short)) == len(set(texts)) else texts
