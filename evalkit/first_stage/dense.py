"""An embedding model as the first stage: exact top-k by cosine or dot product, in chunks."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from evalkit import ranking
from evalkit.errors import EvalkitError
from evalkit.first_stage import cache as kept
from evalkit.first_stage.base import FirstStage
from evalkit.progress import stage
from evalkit.types import Hit, Run, Settings, Slice

if TYPE_CHECKING:
    import torch

_CHUNK = 100_000
"""Texts tokenized, and passages compared with the queries, at a time."""
_KEPT_FROM = 1_000
"""Passages from which on embeddings are kept unasked: without a GPU, these take half a minute."""
_PRODUCTS = 1 << 26
"""At most so many products of queries and passages at a time (256 MiB): many queries take smaller chunks."""


@dataclass
class Dense(FirstStage):
    """The encoder `model` with its own pooling, normalisation and prefixes, as its model card states them."""

    model: str
    pooling: str
    normalize: bool
    max_length: int
    batch_tokens: int
    device: str
    precision: str
    query_prefix: str = ""
    doc_prefix: str = ""
    cache: str = "off"
    revision: str | None = None
    name: str | None = None
    cache_s: float = field(default=0.0, init=False)
    """Time of the last search that went into keeping its embeddings, and no part of what they cost."""
    _facts: dict[str, Any] = field(default_factory=dict, repr=False)

    def check(self) -> None:
        """Check settings, device, precision and that the model is there.

        Raises:
            EvalkitError: one of them cannot be had.
        """
        from evalkit.scoring.device import resolve_device, resolve_precision
        from evalkit.scoring.pretrained import read_config

        kept.check(self.cache)
        if self.pooling not in ("cls", "mean"):
            raise EvalkitError(f"first_stage.pooling={self.pooling}: there is cls, mean")
        resolve_precision(self.precision, resolve_device(self.device))
        read_config(self.model, self.revision, "first_stage.model")

    def search(self, data: Slice, depth: int) -> Run:
        """Embed queries and passages and return the best `depth` passages of each query.

        Passages whose embeddings the cache has are not embedded again (see `evalkit.first_stage.cache`); queries are.

        Raises:
            EvalkitError: model, device or precision cannot be had, or the memory does not suffice.
        """
        import torch

        from evalkit.scoring.device import device_name, resolve_device, resolve_precision
        from evalkit.scoring.pretrained import load_encoder

        device = resolve_device(self.device)
        precision = resolve_precision(self.precision, device)
        encoder = load_encoder(self.model, self.revision, device, precision, "first_stage.model")
        if self.max_length > encoder.max_tokens:
            raise EvalkitError(
                f"first_stage.max_length={self.max_length}: {self.model} has positions for {encoder.max_tokens} tokens"
            )
        doc_ids = list(data.docs)
        try:
            with torch.inference_mode():
                queries = self._embed(encoder, device, self.query_prefix, list(data.queries.values()), "queries")
                got = self._passages(encoder, device, data.docs)
                docs, self.cache_s = got.value, got.keeping_s
                values, rows = _top(queries, docs, min(depth, len(doc_ids)), device)
        except torch.OutOfMemoryError:
            raise EvalkitError(
                f"out of memory on {device} while embedding; lower first_stage.batch_tokens "
                f"(now {self.batch_tokens}) or first_stage.max_length"
            ) from None
        self._facts = {
            "revision": encoder.revision,
            "dimensions": docs.shape[1],
            "device": str(device),
            "device_name": device_name(device),
            "dtype": str(precision.dtype).removeprefix("torch."),
            "from_cache": got.from_cache,
        }
        rankings = {
            query_id: ranking.order(Hit(doc_ids[row], score) for row, score in zip(rows[i], values[i], strict=True))
            for i, query_id in enumerate(data.queries)
        }
        return Run(self._label(), rankings)

    def _passages(self, encoder: Any, device: "torch.device", docs: Mapping[str, str]) -> "kept.Got[torch.Tensor]":
        import torch

        from evalkit.scoring.device import device_name

        def embed() -> "torch.Tensor":
            return self._embed(encoder, device, self.doc_prefix, list(docs.values()), "passages")

        def unpack(arrays: kept.Arrays) -> "torch.Tensor":
            if arrays["embeddings"].shape[0] != len(docs):
                raise ValueError("it has other rows than there are passages")
            return torch.from_numpy(arrays["embeddings"])

        place = kept.chosen(self.cache, len(docs), _KEPT_FROM)
        if place is None:
            return kept.Got(embed(), False, 0.0)
        asked = ("pooling", "normalize", "max_length", "batch_tokens", "precision", "doc_prefix")
        facts = {
            **{key: getattr(self, key) for key in asked},
            "revision": encoder.revision,
            "device": f"{device.type}, {device_name(device)}",
            "code": kept.code_hash(__file__),
            "versions": kept.versions("torch", "transformers", "tokenizers", "numpy"),
        }
        return place.get("dense", facts, docs, embed, lambda tensor: {"embeddings": tensor.numpy()}, unpack)

    def describe(self) -> Settings:
        """Return the model, its revision and all that shapes its embeddings."""
        asked = (
            "model",
            "pooling",
            "normalize",
            "max_length",
            "batch_tokens",
            "precision",
            "query_prefix",
            "doc_prefix",
        )
        return {"name": self._label(), **{key: getattr(self, key) for key in asked}, **self._facts}

    def _label(self) -> str:
        return self.name or Path(self.model).name

    def _embed(
        self, encoder: Any, device: "torch.device", prefix: str, texts: Sequence[str], label: str
    ) -> "torch.Tensor":
        """Return fp32 embeddings on the CPU, shape (len(texts), dimensions)."""
        import torch

        from evalkit.scoring.batches import batches

        out: torch.Tensor | None = None
        with stage(f"embedding {label}", len(texts), label) as advance:
            for start in range(0, len(texts), _CHUNK):
                chunk = [prefix + text for text in texts[start : start + _CHUNK]]
                tokens = encoder.tokenizer(chunk, truncation=True, max_length=self.max_length)["input_ids"]
                for rows in batches([len(ids) for ids in tokens], max(self.batch_tokens, self.max_length)):
                    padded = encoder.tokenizer.pad({"input_ids": [tokens[row] for row in rows]}, return_tensors="pt")
                    pooled = self._pool(encoder.model, padded.to(device))
                    if out is None:
                        out = torch.empty((len(texts), pooled.shape[1]))
                    out[[start + row for row in rows]] = pooled.cpu()
                    advance(len(rows))
        assert out is not None
        return out

    def _pool(self, model: Any, batch: Any) -> "torch.Tensor":
        import torch

        hidden = model(**batch).last_hidden_state.float()
        if self.pooling == "cls":
            pooled: torch.Tensor = hidden[:, 0]
        else:
            mask = batch["attention_mask"].unsqueeze(-1).float()
            pooled = (hidden * mask).sum(1) / mask.sum(1)
        return torch.nn.functional.normalize(pooled, dim=1) if self.normalize else pooled


def _top(
    queries: "torch.Tensor", docs: "torch.Tensor", k: int, device: "torch.device"
) -> tuple[list[list[float]], list[list[int]]]:
    """Return the `k` largest products of each query and their rows in `docs`, comparing a chunk of `docs` at a time."""
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
