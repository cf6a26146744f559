"""An embedding model as the first stage: exact top-k by cosine or dot product, in chunks."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from evalkit.boundary.progress import stage
from evalkit.errors import EvalkitError
from evalkit.evaluation import ranking
from evalkit.first_stage import cache as index_cache
from evalkit.first_stage.base import FirstStage
from evalkit.first_stage.dense_settings import Requested, Resolved, resolve
from evalkit.types import Hit, Run, Settings, Slice

if TYPE_CHECKING:
    import torch

    from evalkit.scoring.embedding import EmbeddingHead
    from evalkit.scoring.loading.sbert_config import SbertConfig

_CHUNK = 100_000
"""Texts tokenized, and passages compared with the queries, at a time."""
_CACHED_FROM = 1_000
"""Passages from which ``first_stage_cache=auto`` caches embeddings: without a GPU, these take half a minute."""
_PRODUCTS = 1 << 26
"""The most products of queries and passages at a time (256 MiB): with many queries, chunks are smaller."""


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
    batch_tokens: int = 16384
    """Most tokens embedded at a time."""
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
        from evalkit.scoring.loading.sbert_encoder import POOLINGS

        index_cache.check(self.cache)
        if self.pooling not in (None, *POOLINGS):
            raise EvalkitError(f"first_stage.pooling={self.pooling}: choose from {', '.join(POOLINGS)}")
        resolve_precision(self.precision, resolve_device(self.device))
        _, files = check_encoder(self.model, self.revision, "first_stage.model")
        self._used(files, None)

    def _used(self, files: "SbertConfig", positions: int | None) -> Resolved:
        asked = Requested(self.pooling, self.normalize, self.max_length, self.query_prefix, self.doc_prefix)
        return resolve(asked, files, positions, f"first_stage.model={self.model}")

    def search(self, data: Slice, depth: int) -> Run:
        """Embed queries and passages and return the best `depth` passages of each query.

        Cached embeddings of passages are reused (see `evalkit.first_stage.cache`); queries are always embedded.

        Args:
            data: ``data.queries`` and ``data.docs``.
            depth: the largest number of hits of a query.

        Raises:
            EvalkitError: model, device or precision are not available, or memory does not suffice.
        """
        import torch

        from evalkit.scoring.device import device_name, resolve_device, resolve_precision
        from evalkit.scoring.embedding import EmbeddingHead
        from evalkit.scoring.loading.pretrained import load_encoder

        began = time.perf_counter()
        device = resolve_device(self.device)
        precision = resolve_precision(self.precision, device)
        encoder = load_encoder(self.model, self.revision, device, precision, "first_stage.model")
        how = self._used(encoder.sbert_config, encoder.max_tokens)
        encoder.check_length(how.max_length, "first_stage.max_length")
        if self.batch_tokens < how.max_length:
            raise EvalkitError(
                f"first_stage.batch_tokens={self.batch_tokens} is smaller than one text of first_stage.max_length="
                f"{how.max_length} tokens; give {how.max_length} or more, or a smaller first_stage.max_length"
            )
        head = EmbeddingHead(encoder.sbert_config.layers_for(how.normalize), device, f"first_stage.model={self.model}")
        embed = _Embedder(encoder, head, how, device, self.batch_tokens)
        doc_ids = list(data.docs)
        try:
            with torch.inference_mode():
                embed.check(self.precision)
                got = self._passages(embed, data.docs)
                docs, self.cache_s = got.value, got.cache_s
                self.index_s = time.perf_counter() - began - self.cache_s
                queries = embed(how.query_prefix, list(data.queries.values()), "queries")
                values, rows = _top(queries, docs, min(depth, len(doc_ids)), device)
        except torch.OutOfMemoryError:
            raise EvalkitError(
                f"out of memory on {device} while embedding; lower first_stage.batch_tokens "
                f"(now {self.batch_tokens}) or first_stage.max_length"
            ) from None
        self._facts = {
            **{key: getattr(how, key) for key in _USED},
            "notes": list(how.notes),
            "model_files": encoder.sbert_config.as_settings(),
            "padding": "right",
            "tokenizer_source": encoder.tokenizer_source.description,
            "revision": encoder.revision,
            "dimensions": docs.shape[1],
            "device": str(device),
            "device_name": device_name(device),
            "dtype": str(precision.dtype).removeprefix("torch."),
            "from_cache": got.from_cache,
            "unknown_query_share": embed.unknown["queries"],
            "unknown_passage_share": embed.unknown.get("passages"),
        }
        rankings = {
            query_id: ranking.order(Hit(doc_ids[row], score) for row, score in zip(rows[i], values[i], strict=True))
            for i, query_id in enumerate(data.queries)
        }
        return Run(self.label, rankings)

    def _passages(self, embed: "_Embedder", docs: Mapping[str, str]) -> "index_cache.CacheResult[torch.Tensor]":
        import torch

        from evalkit.scoring import embedding
        from evalkit.scoring.device import device_name

        def vectors() -> "torch.Tensor":
            return embed(embed.how.doc_prefix, list(docs.values()), "passages")

        def unpack(arrays: index_cache.Arrays) -> "torch.Tensor":
            if arrays["embeddings"].shape[0] != len(docs):
                raise ValueError("its number of rows is not the number of passages")
            return torch.from_numpy(arrays["embeddings"])

        place = index_cache.open_cache(self.cache, len(docs), _CACHED_FROM)
        if place is None:
            return index_cache.CacheResult(vectors(), False, 0.0)
        facts = {
            **{key: getattr(embed.how, key) for key in ("pooling", "normalize", "max_length", "doc_prefix")},
            **{key: getattr(self, key) for key in ("batch_tokens", "precision")},
            "revision": embed.encoder.revision,
            "device": f"{embed.device.type}, {device_name(embed.device)}",
            "code": index_cache.hash_code(__file__, embedding.__file__),
            "versions": index_cache.package_versions("torch", "transformers", "tokenizers", "numpy"),
        }
        return place.get_or_create("dense", facts, docs, vectors, lambda tensor: {"embeddings": tensor.numpy()}, unpack)

    def describe(self) -> Settings:
        """Return the model, its revision and everything that its embeddings depend on."""
        asked = ("model", *_USED, "batch_tokens", "precision")
        return {"name": self.label, **{key: getattr(self, key) for key in asked}, **self._facts}

    @property
    def label(self) -> str:
        """The setting `name`, else that of the model."""
        from evalkit.scoring.loading.model_location import short_name

        return self.name or short_name(self.model)


_USED = ("pooling", "normalize", "max_length", "query_prefix", "doc_prefix")


@dataclass(frozen=True)
class _Embedder:
    """Turns texts into vectors."""

    encoder: Any
    head: "EmbeddingHead"
    how: Resolved
    device: "torch.device"
    batch_tokens: int
    unknown: dict[str, float] = field(default_factory=dict)
    """Under "queries" and "passages", once embedded: the share of tokens that the vocabulary does not know."""

    def __call__(self, prefix: str, texts: Sequence[str], label: str) -> "torch.Tensor":
        """Return fp32 embeddings on the CPU, shape (len(texts), dimensions)."""
        import torch

        from evalkit.scoring.batching import plan_batches

        encoder, most = self.encoder, self.how.max_length
        unknown, total, of_unknown = 0, 0, encoder.tokenizer.unk_token_id
        out: torch.Tensor | None = None
        with stage(f"embedding {label}", len(texts), label) as advance:
            for start in range(0, len(texts), _CHUNK):
                chunk = [prefix + text for text in texts[start : start + _CHUNK]]
                tokens = encoder.tokenizer(chunk, truncation=True, max_length=most)["input_ids"]
                total += sum(map(len, tokens))
                unknown += sum(ids.count(of_unknown) for ids in tokens)
                for rows in plan_batches([len(ids) for ids in tokens], self.batch_tokens):
                    vectors = self._vectors([tokens[row] for row in rows])
                    if out is None:
                        out = torch.empty((len(texts), vectors.shape[1]))
                    out[[start + row for row in rows]] = vectors.cpu()
                    advance(len(rows))
        assert out is not None
        self.unknown[label] = unknown / max(total, 1)
        return out

    def check(self, precision: str) -> None:
        """Check that the vector of a text does not depend on the other texts of its batch.

        Raises:
            EvalkitError: it does, or the model cannot embed a text.
        """
        from evalkit.scoring.self_check import check_embeddings_agree

        def vectors(texts: Sequence[str]) -> "torch.Tensor":
            tokens = self.encoder.tokenizer(list(texts), truncation=True, max_length=self.how.max_length)["input_ids"]
            return self._vectors(tokens)

        architecture = type(self.encoder.model).__name__
        check_embeddings_agree(vectors, precision, f"first_stage.model={self.encoder.name}: {architecture}")

    def _vectors(self, tokens: "Sequence[Sequence[int]]") -> "torch.Tensor":
        import torch

        from evalkit.scoring.embedding import pad_right, pool_states

        padded = pad_right(tokens, self.encoder.model.config, self.encoder.tokenizer)
        batch = {key: ids.to(self.device) for key, ids in padded.items()}
        states = self.encoder.model(**batch).last_hidden_state.float()
        vectors = self.head(pool_states(states, batch["attention_mask"], self.how.pooling))
        vectors = vectors[:, : self.encoder.sbert_config.truncate_dim]
        return torch.nn.functional.normalize(vectors, dim=1) if self.how.normalize else vectors


def _top(
    queries: "torch.Tensor", docs: "torch.Tensor", k: int, device: "torch.device"
) -> tuple[list[list[float]], list[list[int]]]:
    """Return the `k` largest products of each query and their rows in `docs`, computed in chunks of `docs`."""
    import torch

    on_device = queries.to(device)
    best = torch.empty((len(queries), 0), device=device)
    best_rows = torch.empty((len(queries), 0), dtype=torch.long, device=device)
    chunk = max(min(_CHUNK, _PRODUCTS // max(len(queries), 1)), 1)
    for start in range(0, len(docs), chunk):
        products = on_device @ docs[start : start + chunk].to(device).T
        values, rows = products.topk(min(k, products.shape[1]), dim=1)
        merged, merged_rows = torch.cat([best, values], 1), torch.cat([best_rows, rows + start], 1)
        best, places = merged.topk(min(k, merged.shape[1]), dim=1)
        best_rows = merged_rows.gather(1, places)
    return best.tolist(), best_rows.tolist()
