"""Distinct labels for systems with the same name, by the settings in which they differ."""

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

Entry = Mapping[str, Any]


class Labelled(NamedTuple):
    """A system with the label that its parts' names give it, and its settings."""

    label: str
    effective: Entry
    """`first_stage`, `reranker` and `depth` of its result."""
    is_first_stage: bool = False
    """Whether it has no reranker."""


def distinct_labels(systems: Sequence[Labelled], depth: bool = True) -> list[str]:
    """Return a label for each system, with the settings in which it differs from systems that share a part's name.

    Systems with the same label get every setting in which they differ. Systems that share only the name of a first
    stage or of a reranker get the settings that change scores, so that two precisions of one reranker do not hide a
    difference in maximum length.

    Args:
        systems: the systems of one slice.
        depth: whether to add the depth where it differs.

    Returns:
        The labels in the order of `systems`; systems without a known difference have the same label.
    """
    added = [dict(sorted(differ.items(), key=_order)) for differ in _differing(systems)]
    return [
        ", ".join([system.label, *(f"{key} {text}" for key, text in facts.items() if depth or key != "depth")])
        for system, facts in zip(systems, added)
    ]


def differing_settings(systems: Sequence[Labelled]) -> list[str]:
    """Return the names of the settings that `distinct_labels` adds."""
    return sorted({key for facts in _differing(systems) for key in facts}, key=lambda key: _order((key, "")))


def duplicates(labels: Sequence[str]) -> list[str]:
    """Return the labels that occur more than once."""
    return [label for label, count in Counter(labels).items() if count > 1]


def settings(facts: Entry, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield the settings of a first stage or a reranker; nested ones have dotted names, such as ``analysis.stemmer``.

    Args:
        facts: what the component recorded; facts that are not settings are left out.
        prefix: what names begin with.
    """
    for key, value in facts.items():
        if key in _NO_SETTINGS:
            continue
        if isinstance(value, Mapping):
            yield from settings(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


_NO_SETTINGS = frozenset(
    """
    attention_source batch_size batch_tokens batch_tokens_source bytes_per_passage computes_in device devices
    dimensions dtype empty_hits engine excluded_hits from_cache graph graph_opset graph_sha256 hidden layers linear
    model_files modules most_ranked_of_a_query name notes padding parameters path_reason prompt_source providers
    quantization queries_of_other_slices queries_where_rank_and_score_disagree ranked_but_no_candidate requests reranks
    runtime_version self_check sentence_transformers store store_off_because stored_mb stored_passages tag
    template_tokens tf32 threads tie_rule token_types tokenizer tokenizer_source tokens_per_doc vectors_per_passage
    weights_ignored
    """.split()  # noqa: SIM905
)
"""Recorded facts that follow from others or depend on the run; they are not settings."""

_LABEL_ORDER = (
    "max_length", "chunks", "depth", "truncation", "runtime", "precision", "prompt", "instruction", "model", "revision",
    "path", "attention",
)  # fmt: skip

_OF_RUNTIME = ("path", "attention")
"""Settings that follow from the runtime where that differs."""

_CHANGE_SCORES = (
    "max_length", "chunks", "depth", "truncation", "prompt", "instruction", "template", "score", "model", "revision"
)  # fmt: skip
"""Settings that change a reranker's scores at any precision and with any first stage."""


def _order(fact: tuple[str, str]) -> tuple[int, str]:
    order = {key: place for place, key in enumerate(_LABEL_ORDER)}
    return order.get(fact[0], len(order)), fact[0]


def _differing(systems: Sequence[Labelled]) -> list[dict[str, str]]:
    """Return, for each system, the settings in which it differs from another: name -> value as text."""
    facts = [_facts(system) for system in systems]
    found: list[dict[str, str]] = [{} for _ in systems]

    def compare(places: Sequence[int], keys: Sequence[str] | None = None) -> None:
        known = dict.fromkeys(key for place in places for key in facts[place])
        if len({facts[place].get("runtime") for place in places}) > 1:
            known = dict.fromkeys(key for key in known if key not in _OF_RUNTIME)
        for key in known if keys is None else keys:
            values = [facts[place].get(key, None) for place in places]
            if len({repr(value) for value in values}) > 1:
                for place, text in zip(places, _texts(values)):
                    found[place].setdefault(key, text)

    for label in duplicates([system.label for system in systems]):
        compare([place for place, system in enumerate(systems) if system.label == label])
    for name in _names(systems, "reranker"):
        compare([p for p, s in enumerate(systems) if _is(s, "reranker", name)], _CHANGE_SCORES)
    compare([place for place, system in enumerate(systems) if not system.is_first_stage], ["depth"])
    for name in _names(systems, "first_stage"):
        places = [p for p, s in enumerate(systems) if _is(s, "first_stage", name)]
        firsts = [dict(settings(systems[place].effective["first_stage"])) for place in places]
        for key in dict.fromkeys(key for of in firsts for key in of):
            values = [of.get(key) for of in firsts]
            if len({repr(value) for value in values}) > 1:
                for place, text in zip(places, _texts(values)):
                    prefix = "" if systems[place].is_first_stage else "first_stage."
                    found[place].setdefault(f"{prefix}{key}", text)
    return found


def _names(systems: Sequence[Labelled], part: str) -> list[str]:
    return list(dict.fromkeys(str(s.effective[part]["name"]) for s in systems if _has(s, part)))


def _has(system: Labelled, part: str) -> bool:
    return part == "first_stage" or not system.is_first_stage


def _is(system: Labelled, part: str, name: str) -> bool:
    return _has(system, part) and system.effective[part]["name"] == name


def _facts(system: Labelled) -> dict[str, Any]:
    """Return the settings in which systems with the same label may differ."""
    facts = dict(settings(system.effective["first_stage"]))
    if system.is_first_stage:
        return facts
    facts = {f"first_stage.{key}": value for key, value in facts.items()}
    return facts | dict(settings(system.effective["reranker"])) | {"depth": system.effective["depth"]}


def _texts(values: Sequence[Any]) -> list[str]:
    """Return values as text, shortened unless two different ones would look the same."""
    texts = [
        "none" if v is None else v if isinstance(v, str) else json.dumps(v, ensure_ascii=False, default=str)
        for v in values
    ]
    short = [text if len(text) <= 40 else f"{text[:37]}..." for text in texts]
    return short if len(set(short)) == len(set(texts)) else texts
