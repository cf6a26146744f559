"""An embedding model as the first stage: exact top-k by cosine or dot product, in chunks."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from evalkit import ranking
from evalkit.errors import EvalkitError
from evalkit.progress import stage
from evalkit.types import Hit, Run, Settings, Slice

if TYPE_CHECKING:
    import torch

_CHUNK = 100_000
"""Texts tokenized, and passages compared with the queries, at a time."""


@dataclass
class Dense:
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
    revision: str | None = None
    name: str | None = None
    _facts: dict[str, Any] = field(default_factory=dict, repr=False)

    def check(self) -> None:
        """Check settings, device, precision and that the model is there.

        Raises:
            EvalkitError: one of them cannot be had.
        """
        from evalkit.scoring.device import resolve_device, resolve_precision
        from evalkit.scoring.pretrained import read_config

        if self.pooling not in ("cls", "mean"):
            raise EvalkitError(f"first_stage.pooling={self.pooling}: there is cls, mean")
        resolve_precision(self.precision, resolve_device(self.device))
        read_config(self.model, self.revision, "first_stage.model")

    def search(self, data: Slice, depth: int) -> Run:
        """Embed queries and passages and return the best `depth` passages of each query.

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
                queries = self._embed(
                    encoder, device, [self.query_prefix + t for t in data.queries.values()], "queries"
                )
                docs = self._embed(encoder, device, [self.doc_prefix + t for t in data.docs.values()], "passages")
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
        }
        rankings = {
            query_id: ranking.order(Hit(doc_ids[row], score) for row, score in zip(rows[i], values[i], strict=True))
            for i, query_id in enumerate(data.queries)
        }
        return Run(self._label(), rankings)

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

    def _embed(self, encoder: Any, device: "torch.device", texts: Sequence[str], label: str) -> "torch.Tensor":
        """Return fp32 embeddings on the CPU, shape (len(texts), dimensions)."""
        import torch

        from evalkit.scoring.scorer import batches

        out: torch.Tensor | None = None
        with stage(f"embedding {label}", len(texts), label) as advance:
            for start in range(0, len(texts), _CHUNK):
                chunk = texts[start : start + _CHUNK]
                tokens = encoder.tokenizer(list(chunk), truncation=True, max_length=self.max_length)["input_ids"]
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
    for start in range(0, len(docs), _CHUNK):
        products = on_device @ docs[start : start + _CHUNK].to(device).T
        rows = torch.arange(start, start + products.shape[1], device=device).expand_as(products)
        merged, merged_rows = torch.cat([best, products], 1), torch.cat([best_rows, rows], 1)
        best, places = merged.topk(min(k, merged.shape[1]), dim=1)
        best_rows = merged_rows.gather(1, places)
    return best.tolist(), best_rows.tolist()
