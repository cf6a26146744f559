"""How an embedding model is used: by the settings, else by its own files; contradictions are noted."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from evalkit.errors import EvalkitError

if TYPE_CHECKING:
    from evalkit.scoring.loading.sbert_config import SbertConfig

_MAX_LENGTH = 512
"""Maximum tokens of a text, if neither the settings nor the model's files state one."""
_DOCUMENT = ("document", "passage", "corpus")
"""Names of the prompt of passages, in the order in which sentence-transformers' encode_document looks for one."""


@dataclass(frozen=True)
class Requested:
    """The settings; None for what the model's own files state."""

    pooling: str | None
    normalize: bool | None
    max_length: int | None
    query_prefix: str | None
    doc_prefix: str | None


@dataclass(frozen=True)
class Resolved:
    """How texts become vectors."""

    pooling: str
    normalize: bool
    max_length: int
    query_prefix: str
    doc_prefix: str
    notes: tuple[str, ...]
    """One sentence for each setting that contradicts the model's files, and for what in them was not used."""


def resolve(asked: Requested, files: "SbertConfig", positions: int | None, where: str) -> Resolved:
    """Return how texts become vectors.

    Args:
        asked: the settings.
        files: what the model's own files state.
        positions: the longest text that the model supports, in tokens; None if unknown yet.
        where: the beginning of each message.

    Raises:
        EvalkitError: neither settings nor files state the pooling, or the files require what evalkit does not support.
    """
    pooling = asked.pooling or files.pooling
    if pooling is None:
        raise EvalkitError(
            f"{where}: the model's own files do not state the pooling (no modules.json); add first_stage.pooling=cls, "
            "mean or another one, as its model card states it"
        )
    far = files.similarity in ("euclidean", "manhattan")
    # Among vectors of length 1, the nearest has the largest dot product.
    if far and asked.normalize is None and (files.similarity == "manhattan" or not files.normalize):
        raise EvalkitError(
            f"{where}: its own files compare vectors by {files.similarity} distance, and evalkit by cosine or dot "
            "product; choose first_stage.normalize=true (cosine) or false (dot product)"
        )
    stated = {**_stated(files), "query_prefix": files.prompts.get("query", ""), "doc_prefix": _document(files)}
    _check_default_prompt(asked, files, where)
    query = stated["query_prefix"] if asked.query_prefix is None else asked.query_prefix
    doc = stated["doc_prefix"] if asked.doc_prefix is None else asked.doc_prefix
    if not files.pools_prompt and (query or doc):
        raise EvalkitError(
            f"{where}: its own files leave the prompt's tokens out of the pooling (include_prompt=false), which "
            "evalkit does not support; search with sentence-transformers and give the ranking: first_stage=trec_run "
            "first_stage.path=RUN"
        )
    normalize = files.normalize if asked.normalize is None else asked.normalize
    return Resolved(
        pooling,
        True if normalize is None else normalize,
        asked.max_length or files.max_length or min(_MAX_LENGTH, positions or _MAX_LENGTH),
        str(query),
        str(doc),
        (*files.notes, *_contradicted(asked, stated), *_unused(asked, files)),
    )


def _stated(files: "SbertConfig") -> dict[str, object]:
    return {"pooling": files.pooling, "normalize": files.normalize, "max_length": files.max_length}


def _document(files: "SbertConfig") -> str:
    return next((files.prompts[name] for name in _DOCUMENT if name in files.prompts), "")


def _contradicted(asked: Requested, stated: dict[str, object]) -> list[str]:
    return [
        f"first_stage.{key}={_shown(value)} was used, but the embedding model's own files state {_shown(own)}"
        for key, own in stated.items()
        if own not in (None, "") and (value := getattr(asked, key)) is not None and value != own
    ]


def _shown(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return repr(value) if value == "" or " " in str(value) else str(value)


def _other_prompts(files: "SbertConfig") -> list[str]:
    """Return the names of stored prompts if none of them is named for queries or passages; else an empty list."""
    named = {name for name, text in files.prompts.items() if text}
    return [] if named & {"query", *_DOCUMENT} else sorted(named)


def _check_default_prompt(asked: Requested, files: "SbertConfig", where: str) -> None:
    open_sides = None in (asked.query_prefix, asked.doc_prefix)
    if open_sides and files.default_prompt_name in _other_prompts(files):
        raise EvalkitError(
            f"{where}: its own files have the default prompt {files.default_prompt_name!r}, and do not state whether "
            "it is for queries or for passages; set both, first_stage.query_prefix=... and "
            "first_stage.doc_prefix=... ('' for none)"
        )


def _unused(asked: Requested, files: "SbertConfig") -> list[str]:
    others = _other_prompts(files)
    if not others or None not in (asked.query_prefix, asked.doc_prefix):
        return []
    return [
        f"the embedding model's own files have prompts ({', '.join(map(repr, others))[:120]}), none of which is named "
        "query, document or passage: none was used; first_stage.query_prefix and first_stage.doc_prefix set them"
    ]
