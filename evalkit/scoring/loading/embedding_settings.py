"""How an embedding model is used: by the settings, else by its own files; contradictions are noted."""

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from evalkit.boundary.errors import EvalkitError
from evalkit.scoring.loading.stated_settings import (
    contradictions,
    resolve_max_length,
    resolve_prompts,
    stated_prompts,
    unused_prompts,
)

if TYPE_CHECKING:
    from evalkit.scoring.loading.sbert_config import SbertConfig


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


def resolve(
    asked: Requested, files: "SbertConfig", positions: int | None, where: str, group: str = "first_stage"
) -> Resolved:
    """Return how texts become vectors.

    Args:
        asked: the settings.
        files: what the model's own files state.
        positions: the longest text that the model supports, in tokens; None if unknown yet.
        where: the beginning of each message.
        group: the group whose setting names the model, ``first_stage`` or ``reranker``, for messages.

    Raises:
        EvalkitError: neither settings nor files state the pooling, or the files require what evalkit does not support.
    """
    pooling = asked.pooling or files.pooling
    if pooling is None:
        raise EvalkitError(
            f"{where}: the model's own files do not state the pooling (no modules.json); add {group}.pooling=cls, "
            "mean or another one, as its model card states it"
            + ("; if it is a sparse encoder (SPLADE), use first_stage=splade" if files.is_masked_lm else "")
        )
    far = files.similarity in ("euclidean", "manhattan")
    # Among vectors of length 1, the nearest has the largest dot product.
    if far and asked.normalize is None and (files.similarity == "manhattan" or not files.normalize):
        raise EvalkitError(
            f"{where}: its own files compare vectors by {files.similarity} distance, and evalkit by cosine or dot "
            f"product; choose {group}.normalize=true (cosine) or false (dot product)"
        )
    prompts = resolve_prompts(asked.query_prefix, asked.doc_prefix, files, where, group)
    if not files.pools_prompt and (prompts.query or prompts.doc):
        raise EvalkitError(
            f"{where}: its own files leave the prompt's tokens out of the pooling (include_prompt=false), which "
            f"evalkit does not support; search with sentence-transformers and give the ranking: {group}=trec_run "
            f"{group}.path=RUN"
        )
    normalize = files.normalize if asked.normalize is None else asked.normalize
    return Resolved(
        pooling,
        True if normalize is None else normalize,
        resolve_max_length(asked.max_length, files, positions),
        prompts.query,
        prompts.doc,
        (
            *files.notes,
            *contradictions(asdict(asked), _stated(files), group),
            *unused_prompts(asked.query_prefix, asked.doc_prefix, files, group),
        ),
    )


def _stated(files: "SbertConfig") -> dict[str, object]:
    prompts = stated_prompts(files)
    return {
        "pooling": files.pooling,
        "normalize": files.normalize,
        "max_length": files.max_length,
        "query_prefix": prompts.query,
        "doc_prefix": prompts.doc,
    }
