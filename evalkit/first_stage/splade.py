"""A learned sparse encoder (SPLADE) as the first stage: exact top-k by dot product over weighted tokens."""

import time
from collections.abc import Mapping
from dataclasses import astuple, dataclass
from typing import TYPE_CHECKING, Any

from evalkit.boundary import index_cache
from evalkit.boundary.errors import EvalkitError
from evalkit.boundary.progress import track
from evalkit.first_stage import sparse_index
from evalkit.first_stage.base import FirstStage
from evalkit.first_stage.sparse_index import Matrix, pack_matrix, search_index, to_matrix, unpack_matrix
from evalkit.scoring.loading.stated_settings import (
    Prompts,
    contradictions,
    resolve_max_length,
    resolve_prompts,
    stated_prompts,
    unused_prompts,
)
from evalkit.types import Run, Settings, Slice

if TYPE_CHECKING:
    from evalkit.scoring.loading.sbert_config import SbertConfig
    from evalkit.scoring.text_encoder import TextCounts, TextEncoder

    Indexed = tuple[Matrix, TextCounts]
    """Vectors of passages, (passages, tokens of the vocabulary), and the counts of the passages."""

CACHED_FROM = 1_000
"""Passages from which ``first_stage_cache=auto`` caches their vectors, as for dense ones."""


@dataclass
class Splade(FirstStage):
    """The masked language model `model`; the weight of a token is its largest log(1 + relu(logit)) in a text."""

    model: str
    """Hub id or local folder of the sparse encoder."""
    max_length: int | None = None
    """Tokens of a text, beyond which it is truncated; null for what the model's files state, else 512."""
    batch_tokens: int = 4096
    """Most tokens encoded at a time; their logits take 4 bytes x tokens x vocabulary: 500 MB with BERT's vocabulary."""
    device: str = "auto"
    """Device of the encoder: auto, cpu, cuda or cuda:N."""
    precision: str = "fp32"
    """Precision of the encoder: fp32, tf32, bf16 or fp16."""
    query_top_tokens: int | None = None
    """How many of the largest weights of a query count; null for what the model's files state, else all."""
    doc_top_tokens: int | None = None
    """How many of the largest weights of a passage count; null for what the model's files state, else all."""
    query_prefix: str | None = None
    """Text before each query; null for what the model's files state."""
    doc_prefix: str | None = None
    """Text before each passage; null for what the model's files state."""
    cache: str = "off"
    """Where the vectors of passages are cached: auto (the cache folder, large collections only), off, or a folder."""
    revision: str | None = None
    """Branch, tag or commit on the hub; null for the default branch."""
    name: str | None = None
    """Name in results and reports; null for the model's."""

    def __post_init__(self) -> None:
        self._facts: dict[str, Any] = {}

    def check(self) -> None:
        """Check settings, device, precision, and that the model is a sparse encoder whose files can be followed.

        Raises:
            EvalkitError: one of them is invalid or not available.
        """
        from evalkit.scoring.device import resolve_device, resolve_precision
        from evalkit.scoring.loading.model_checks import check_sparse_encoder

        index_cache.check(self.cache)
        for key in ("query_top_tokens", "doc_top_tokens"):
            if getattr(self, key) is not None and getattr(self, key) < 1:
                raise EvalkitError(f"first_stage.{key}={getattr(self, key)}: give 1 token or more, or null for all")
        resolve_precision(self.precision, resolve_device(self.device))
        _, files = check_sparse_encoder(self.model, self.revision, "first_stage.model")
        self._prompts(files)

    def _prompts(self, files: "SbertConfig") -> Prompts:
        return resolve_prompts(self.query_prefix, self.doc_prefix, files, self._where)

    @property
    def _where(self) -> str:
        return f"first_stage.model={self.model}"

    def search(self, data: Slice, depth: int) -> Run:
        """Encode queries and passages and return the best `depth` passages of each; one that scores 0 is not a hit.

        Cached vectors of passages are reused (see `evalkit.boundary.index_cache`); queries are always encoded.

        Args:
            data: ``data.queries`` and ``data.docs``.
            depth: the largest number of hits of a query.

        Raises:
            EvalkitError: model, device or precision are not available, or memory does not suffice.
        """
        from evalkit.scoring.device import resolve_device, resolve_precision
        from evalkit.scoring.loading.pretrained import load_encoder
        from evalkit.scoring.sparse_embedding import TokenWeights, encode_sparse, sparse_encoder
        from evalkit.scoring.text_encoder import describe_texts, inference

        began = time.perf_counter()
        device = resolve_device(self.device)
        precision = resolve_precision(self.precision, device)
        pretrained = load_encoder(self.model, self.revision, device, precision, "first_stage.model", sparse=True)
        files, prompts = pretrained.sbert_config, self._prompts(pretrained.sbert_config)
        max_length = resolve_max_length(self.max_length, files, pretrained.max_tokens)
        encoder = sparse_encoder(pretrained, max_length, self.batch_tokens, device)
        query_top = files.top_tokens if self.query_top_tokens is None else self.query_top_tokens
        with inference(device, self.batch_tokens):
            encoder.check(self.precision)
            got = self._passages(encoder, prompts.doc, data.docs)
            (docs, of_docs), self.cache_s = got.value, got.cache_s
            of_query = TokenWeights(files, docs.shape[1], max_length, self._where) if files.query_weights else encoder
            self.index_s = time.perf_counter() - began - self.cache_s
            texts = list(data.queries.values())
            vectors, of_queries = encode_sparse(of_query, prompts.query, texts, "queries", query_top, self._where)
        queries = to_matrix(vectors)
        hits = search_index(queries, docs, list(data.docs), depth)
        rankings = dict(track(zip(data.queries, hits), "searching", "queries", len(data.queries)))
        self._facts = {
            "pooling": files.pooling,
            "activation": files.activation,
            "query_encoder": "token weights" if files.query_weights else "model",
            "max_length": max_length,
            "query_prefix": prompts.query,
            "doc_prefix": prompts.doc,
            "query_top_tokens": query_top,
            "doc_top_tokens": self._doc_top(files),
            "notes": self._notes(files),
            **encoder.describe(),
            "vocabulary": docs.shape[1],
            "tokens_per_query": round(queries.nnz / max(queries.shape[0], 1), 1),
            "tokens_per_passage": round(docs.nnz / max(docs.shape[0], 1), 1),
            "from_cache": got.from_cache,
            **describe_texts(of_queries, of_docs),
        }
        return Run(self.label, rankings)

    def _doc_top(self, files: "SbertConfig") -> int | None:
        return files.top_tokens if self.doc_top_tokens is None else self.doc_top_tokens

    def _notes(self, files: "SbertConfig") -> list[str]:
        prompts = stated_prompts(files)
        stated = {
            "max_length": files.max_length,
            "query_top_tokens": files.top_tokens,
            "doc_top_tokens": files.top_tokens,
            "query_prefix": prompts.query,
            "doc_prefix": prompts.doc,
        }
        asked = {key: getattr(self, key) for key in stated}
        unused = unused_prompts(self.query_prefix, self.doc_prefix, files)
        return [*files.notes, *contradictions(asked, stated), *unused]

    def _passages(
        self, encoder: "TextEncoder", prefix: str, docs: Mapping[str, str]
    ) -> "index_cache.CacheResult[Indexed]":
        import numpy as np

        from evalkit.scoring import sparse_embedding, text_encoder

        files = encoder.pretrained.sbert_config
        top_tokens = self._doc_top(files)

        def pack(indexed: "Indexed") -> index_cache.Arrays:
            return {**pack_matrix(indexed[0]), "counts": np.array(astuple(indexed[1]))}

        def unpack(arrays: index_cache.Arrays) -> "Indexed":
            return unpack_matrix(arrays, len(docs)), text_encoder.TextCounts(*arrays["counts"].tolist())

        def make() -> "Indexed":
            texts = list(docs.values())
            vectors, counts = sparse_embedding.encode_sparse(
                encoder, prefix, texts, "passages", top_tokens, self._where
            )
            return to_matrix(vectors), counts

        place = index_cache.open_cache(self.cache, len(docs), CACHED_FROM)
        if place is None:
            return index_cache.CacheResult(make(), False, 0.0)
        facts = {
            "pooling": files.pooling,
            "activation": files.activation,
            "max_length": encoder.max_length,
            "doc_prefix": prefix,
            "doc_top_tokens": top_tokens,
            **{key: getattr(self, key) for key in ("batch_tokens", "precision")},
            **encoder.fingerprint(),
            "code": index_cache.hash_code(
                __file__, sparse_index.__file__, sparse_embedding.__file__, text_encoder.__file__
            ),
            "versions": index_cache.package_versions("torch", "transformers", "tokenizers", "numpy", "scipy"),
        }
        return place.get_or_create("splade", facts, docs, make, pack, unpack)

    def describe(self) -> Settings:
        """Return the model, its revision and everything that its vectors depend on."""
        asked = ("model", "max_length", "batch_tokens", "precision")
        return {"name": self.label, **{key: getattr(self, key) for key in asked}, **self._facts}

    @property
    def label(self) -> str:
        """The setting `name`, else that of the model."""
        from evalkit.scoring.loading.model_location import short_name

        return self.name or short_name(self.model)
