"""An embedding model as the first stage: exact top-k by cosine or dot product, in chunks."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import astuple, dataclass
from typing import TYPE_CHECKING, Any

from evalkit.boundary import index_cache
from evalkit.boundary.errors import EvalkitError
from evalkit.evaluation import ranking
from evalkit.first_stage.base import FirstStage
from evalkit.scoring.loading.embedding_settings import Requested, Resolved, resolve
from evalkit.types import Hit, Run, Settings, Slice

if TYPE_CHECKING:
    import torch

    from evalkit.scoring.text_encoder import TextCounts, TextEncoder

    Embedded = tuple[torch.Tensor, TextCounts]
    """Embeddings in fp32 on the CPU, (texts, dimensions), and the counts of the texts."""

CACHED_FROM = 1_000
"""Passages from which ``first_stage_cache=auto`` caches embeddings: without a GPU, these take half a minute."""


@dataclass
class Dense(FirstStage):
    """The encoder `model`; a setting that is None is taken from the model's own files."""

    model: str
    """Hub id or local folder of the encoder."""
    pooling: str | None = None
    """How token vectors become one: cls, mean, max, ...; null for what the model's files state."""
    normalize: bool | None = None
    """Whether vectors are scaled to length 1 (cosine similarity); null for what the model's files state."""
    max_length: int | None = None
    """Tokens of a text, beyond which it is truncated; null for what the model's files state."""
    batch_tokens: int | None = None
    """Most tokens embedded at a time; null for 16,384, and on a CPU for 2,048 on each core."""
    device: str = "auto"
    """Device of the encoder: auto, cpu, cuda or cuda:N."""
    precision: str = "fp32"
    """Precision of the encoder: fp32, tf32, bf16 or fp16."""
    query_prefix: str | None = None
    """Text before each query; null for what the model's files state."""
    doc_prefix: str | None = None
    """Text before each passage; null for what the model's files state."""
    cache: str = "off"
    """Where embeddings are cached: auto (the cache folder, large collections only), off, or a folder."""
    revision: str | None = None
    """Branch, tag or commit on the hub; null for the default branch."""
    name: str | None = None
    """Name in results and reports; null for the model's."""

    def __post_init__(self) -> None:
        self._facts: dict[str, Any] = {}

    def check(self) -> None:
        """Check settings, device, precision, and that the model and the files that describe its use exist.

        Raises:
            EvalkitError: one of them is invalid or not available.
        """
        from evalkit.scoring.device import resolve_device, resolve_precision
        from evalkit.scoring.loading.model_checks import check_encoder
        from evalkit.scoring.loading.sbert_layers import POOLINGS

        index_cache.check(self.cache)
        if self.pooling not in (None, *POOLINGS):
            raise EvalkitError(f"first_stage.pooling={self.pooling}: choose from {', '.join(POOLINGS)}")
        resolve_precision(self.precision, resolve_device(self.device))
        _, files = check_encoder(self.model, self.revision, "first_stage.model")
        resolve(self._requested, files, None, f"first_stage.model={self.model}")

    @property
    def _requested(self) -> Requested:
        return Requested(self.pooling, self.normalize, self.max_length, self.query_prefix, self.doc_prefix)

    def search(self, data: Slice, depth: int) -> Run:
        """Embed queries and passages and return the best `depth` passages of each query.

        Cached embeddings of passages are reused (see `evalkit.boundary.index_cache`); queries are always embedded.

        Args:
            data: ``data.queries`` and ``data.docs``.
            depth: the largest number of hits of a query.

        Raises:
            EvalkitError: model, device or precision are not available, or memory does not suffice.
        """
        from evalkit.first_stage.dense_index import search_index
        from evalkit.scoring.embedding_model import load_embedding_model
        from evalkit.scoring.text_encoder import describe_texts, inference

        began = time.perf_counter()
        model = load_embedding_model(
            self.model, self.revision, self._requested, self.batch_tokens, self.device, self.precision
        )
        encoder, how, device = model.encoder, model.how, model.encoder.device
        doc_ids = list(data.docs)
        with inference(device, encoder.batch_tokens):
            encoder.check(self.precision)
            got = self._passages(encoder, how, data.docs)
            (docs, of_docs), self.cache_s = got.value, got.cache_s
            self.index_s = time.perf_counter() - began - self.cache_s
            queries, of_queries = _embed(encoder, how.query_prefix, list(data.queries.values()), "queries")
            values, rows = search_index(queries, docs, depth, device)
        self._facts = {
            **{key: getattr(how, key) for key in _USED},
            "notes": list(how.notes),
            "batch_tokens": encoder.batch_tokens,
            **encoder.describe(),
            "dimensions": docs.shape[1],
            "from_cache": got.from_cache,
            **describe_texts(of_queries, of_docs),
        }
        rankings = {
            query_id: ranking.order(Hit(doc_ids[row], score) for row, score in zip(rows[i], values[i], strict=True))
            for i, query_id in enumerate(data.queries)
        }
        return Run(self.label, rankings)

    def _passages(
        self, encoder: "TextEncoder", how: Resolved, docs: Mapping[str, str]
    ) -> "index_cache.CacheResult[Embedded]":
        import numpy as np
        import torch

        from evalkit.scoring import embedding, embedding_model, text_encoder
        from evalkit.scoring.text_encoder import TextCounts

        def pack(embedded: "Embedded") -> index_cache.Arrays:
            return {"embeddings": embedded[0].numpy(), "counts": np.array(astuple(embedded[1]))}

        def unpack(arrays: index_cache.Arrays) -> "Embedded":
            if arrays["embeddings"].shape[0] != len(docs):
                raise ValueError("its number of rows is not the number of passages")
            return torch.from_numpy(arrays["embeddings"]), TextCounts(*arrays["counts"].tolist())

        def make() -> "Embedded":
            return _embed(encoder, how.doc_prefix, list(docs.values()), "passages")

        place = index_cache.open_cache(self.cache, len(docs), CACHED_FROM)
        if place is None:
            return index_cache.CacheResult(make(), False, 0.0)
        facts = {
            **{key: getattr(how, key) for key in ("pooling", "normalize", "max_length", "doc_prefix")},
            "batch_tokens": encoder.batch_tokens,
            "precision": self.precision,
            **encoder.fingerprint(),
            "code": index_cache.hash_code(
                __file__, embedding.__file__, embedding_model.__file__, text_encoder.__file__
            ),
            "versions": index_cache.package_versions("torch", "transformers", "tokenizers", "numpy"),
        }
        return place.get_or_create("dense", facts, docs, make, pack, unpack)

    def describe(self) -> Settings:
        """Return the model, its revision and everything that its embeddings depend on."""
        asked = ("model", *_USED, "precision")
        return {"name": self.label, **{key: getattr(self, key) for key in asked}, **self._facts}

    @property
    def label(self) -> str:
        """The setting `name`, else that of the model."""
        from evalkit.scoring.loading.model_location import short_name

        return self.name or short_name(self.model)


_USED = ("pooling", "normalize", "max_length", "query_prefix", "doc_prefix")


def _embed(encoder: "TextEncoder", prefix: str, texts: Sequence[str], label: str) -> "Embedded":
    """Return fp32 embeddings on the CPU, shape (len(texts), dimensions), and the counts of the texts."""
    import torch

    out: torch.Tensor | None = None

    def take(rows: list[int], vectors: torch.Tensor) -> None:
        nonlocal out
        if out is None:
            out = torch.empty((len(texts), vectors.shape[1]))
        out[rows] = vectors.cpu()

    counts = encoder.encode(prefix, texts, label, take)
    assert out is not None
    return out, counts
