"""What an encoder's own files state, and the settings that win over it: prompts and maximum length."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from evalkit.boundary.errors import EvalkitError

if TYPE_CHECKING:
    from evalkit.scoring.loading.sbert_config import SbertConfig

_MAX_LENGTH = 512
"""Maximum tokens of a text, if neither the settings nor the model's files state one."""
_DOCUMENT = ("document", "passage", "corpus")
"""Names of the prompt of passages, in the order in which sentence-transformers' encode_document looks for one."""


@dataclass(frozen=True)
class Prompts:
    """The text before each query, and before each passage; empty for none."""

    query: str
    doc: str


def stated_prompts(files: "SbertConfig") -> Prompts:
    """Return the prompts that the encoder's files state.

    Args:
        files: what the model's own files state.
    """
    doc = next((files.prompts[name] for name in _DOCUMENT if name in files.prompts), "")
    return Prompts(files.prompts.get("query", ""), doc)


def resolve_prompts(
    query: str | None, doc: str | None, files: "SbertConfig", where: str, group: str = "first_stage"
) -> Prompts:
    """Return the prompts to use.

    Args:
        query: the setting ``query_prefix``; None for what the files state.
        doc: the setting ``doc_prefix``; None for what the files state.
        files: what the model's own files state.
        where: the beginning of each message.
        group: the group whose setting names the model, ``first_stage`` or ``reranker``, for messages.

    Raises:
        EvalkitError: the files have a default prompt, and do not state whether it is for queries or for passages.
    """
    if None in (query, doc) and files.default_prompt_name in _other_prompts(files):
        raise EvalkitError(
            f"{where}: its own files have the default prompt {files.default_prompt_name!r}, and do not state whether "
            f"it is for queries or for passages; set both, {group}.query_prefix=... and {group}.doc_prefix=... ('' for "
            "none)"
        )
    stated = stated_prompts(files)
    return Prompts(stated.query if query is None else query, stated.doc if doc is None else doc)


def unused_prompts(query: str | None, doc: str | None, files: "SbertConfig", group: str = "first_stage") -> list[str]:
    """Return a note if the files have prompts and none of them was used; else an empty list.

    Args:
        query: as for `resolve_prompts`.
        doc: as for `resolve_prompts`.
        files: what the model's own files state.
        group: as for `resolve_prompts`.
    """
    others = _other_prompts(files)
    if not others or None not in (query, doc):
        return []
    return [
        f"the embedding model's own files have prompts ({', '.join(map(repr, others))[:120]}), none of which is named "
        f"query, document or passage: none was used; {group}.query_prefix and {group}.doc_prefix set them"
    ]


def resolve_max_length(asked: int | None, files: "SbertConfig", positions: int | None) -> int:
    """Return the tokens of a text, beyond which it is truncated.

    Args:
        asked: the setting ``max_length``; None for what the files state.
        files: what the model's own files state.
        positions: the longest text that the model supports, in tokens; None if unknown yet.
    """
    return asked or files.max_length or min(_MAX_LENGTH, positions or _MAX_LENGTH)


def contradictions(asked: Mapping[str, object], stated: Mapping[str, object], group: str = "first_stage") -> list[str]:
    """Return a note for each setting that contradicts the model's files.

    Args:
        asked: name of a setting -> its value; None if it is not set.
        stated: name of a setting -> what the files state; None or empty if they do not.
        group: as for `resolve_prompts`.
    """
    return [
        f"{group}.{key}={_shown(value)} was used, but the embedding model's own files state {_shown(own)}"
        for key, own in stated.items()
        if own not in (None, "") and (value := asked[key]) is not None and value != own
    ]


def _shown(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return repr(value) if value == "" or " " in str(value) else str(value)


def _other_prompts(files: "SbertConfig") -> list[str]:
    """Return the names of stored prompts if none of them is named for queries or passages; else an empty list."""
    named = {name for name, text in files.prompts.items() if text}
    return [] if named & {"query", *_DOCUMENT} else sorted(named)
