"""An embedding model as the reranker: the cheap alternative that every cross-encoder has to beat."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from evalkit.boundary.errors import EvalkitError
from evalkit.rerankers.base import Reranker, check_texts
from evalkit.scoring.loading.embedding_settings import Requested, resolve
from evalkit.types import Pair, Scores, Settings

if TYPE_CHECKING:
    import torch

    from evalkit.scoring.embedding_model import EmbeddingModel
    from evalkit.scoring.text_encoder import TextCounts


@dataclass
class BiEncoder(Reranker):
    """The embedding model `model`: a pair's score is the product of the vectors of query and passage.

    Query and passages are embedded in each call, so that time and throughput are those of an application that has no
    vectors stored; passages that several queries share are embedded once a call. A setting that is None is taken from
    the model's own files, as for ``first_stage=dense``.
    """

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
    revision: str | None = None
    """Branch, tag or commit on the hub; null for the default branch."""
    name: str | None = None
    """Name in results and reports; null for the model's."""
    computes = True

    def __post_init__(self) -> None:
        self._loaded: EmbeddingModel | None = None

    @property
    def shown_name(self) -> str:
        """Return the setting `name`, else that of the model."""
        from evalkit.scoring.loading.model_location import short_name

        return self.name or short_name(self.model)

    @property
    def _requested(self) -> Requested:
        return Requested(self.pooling, self.normalize, self.max_length, self.query_prefix, self.doc_prefix)

    def check(self) -> None:
        """Check settings, device, precision, and that the model and the files that describe its use exist.

        Raises:
            EvalkitError: one of them is invalid or not available.
        """
        from evalkit.scoring.device import resolve_device, resolve_precision
        from evalkit.scoring.loading.model_checks import check_encoder
        from evalkit.scoring.loading.sbert_layers import POOLINGS

        if self.pooling not in (None, *POOLINGS):
            raise EvalkitError(f"reranker.pooling={self.pooling}: choose from {', '.join(POOLINGS)}")
        resolve_precision(self.precision, resolve_device(self.device))
        _, files = check_encoder(self.model, self.revision, "reranker.model")
        resolve(self._requested, files, None, f"reranker.model={self.model}", "reranker")

    def load(self) -> None:
        """Load the model.

        Raises:
            EvalkitError: model, device or precision are not available, or a vector depends on other texts of its batch.
        """
        import torch

        from evalkit.scoring.embedding_model import load_embedding_model

        with torch.inference_mode():
            self._loaded = load_embedding_model(
                self.model, self.revision, self._requested, self.batch_tokens, self.device, self.precision,
                "reranker.model",
            )  # fmt: skip
            self._loaded.encoder.check(self.precision)

    def token_offsets(self, texts: Sequence[str]) -> Sequence[Sequence[tuple[int, int]]]:
        """Return where the tokens of texts are.

        Args:
            texts: as for `Reranker.token_offsets`.
        """
        if not texts:
            return []
        from evalkit.scoring.token_offsets import token_offsets

        assert self._loaded is not None, "load() comes first"
        return token_offsets(self._loaded.encoder.pretrained.tokenizer, texts)

    def score(
        self,
        pairs: Sequence[Pair],
        queries: Mapping[str, str],
        docs: Mapping[str, str],
        on_progress: Callable[[int], None] = lambda n: None,
    ) -> Scores:
        """Embed the distinct queries and passages of the pairs, and multiply their vectors.

        Args:
            pairs: as for `Reranker.score`.
            queries: as for `Reranker.score`.
            docs: as for `Reranker.score`.
            on_progress: as for `Reranker.score`.

        Raises:
            EvalkitError: a passage has no text, or memory does not suffice.
        """
        from evalkit.scoring.text_encoder import inference

        assert self._loaded is not None, "load() comes first"
        check_texts(pairs, docs)
        encoder, how = self._loaded.encoder, self._loaded.how
        query_ids = list(dict.fromkeys(pair.query_id for pair in pairs))
        doc_ids = list(dict.fromkeys(pair.doc_id for pair in pairs))
        per_passage = len(pairs) / max(len(doc_ids), 1)  # progress is in pairs
        with inference(encoder.device, encoder.batch_tokens, "reranker"):
            reported = 0

            def advance(embedded: int) -> None:
                nonlocal reported
                done = min(round(embedded * per_passage), len(pairs) - reported)
                reported += done
                on_progress(done)

            asked = self._embed(how.query_prefix, [queries[q] for q in query_ids])
            found = self._embed(how.doc_prefix, [docs[d] for d in doc_ids], advance)
            query_rows = {query_id: row for row, query_id in enumerate(query_ids)}
            doc_rows = {doc_id: row for row, doc_id in enumerate(doc_ids)}
            rows = [(query_rows[pair.query_id], doc_rows[pair.doc_id]) for pair in pairs]
            left, right = asked.vectors[[row for row, _ in rows]], found.vectors[[row for _, row in rows]]
            logits = (left * right).sum(1).tolist()
        on_progress(len(pairs) - reported)
        tokens = asked.counts.tokens + found.counts.tokens
        return Scores(
            tuple(logits),
            truncated_pairs=sum(query in asked.truncated or doc in found.truncated for query, doc in rows),
            tokens=tokens,
            padded_tokens=tokens,
            unknown_query_share=asked.counts.unknown_share,
            unknown_passage_share=found.counts.unknown_share,
        )

    def _embed(self, prefix: str, texts: Sequence[str], advance: Callable[[int], None] = lambda n: None) -> "_Embedded":
        import torch

        assert self._loaded is not None
        parts: list[tuple[list[int], torch.Tensor]] = []
        truncated: set[int] = set()
        counts = self._loaded.encoder.encode_silently(
            prefix, texts, lambda rows, vectors: parts.append((rows, vectors.float().cpu())), advance, truncated.update
        )
        vectors = torch.empty((len(texts), parts[0][1].shape[1]))
        for rows, of_batch in parts:
            vectors[rows] = of_batch
        return _Embedded(vectors, counts, frozenset(truncated))

    def describe(self) -> Settings:
        """Return the model, its revision and everything that its vectors depend on."""
        assert self._loaded is not None, "load() comes first"
        encoder, how = self._loaded.encoder, self._loaded.how
        used = ("pooling", "normalize", "max_length", "query_prefix", "doc_prefix")
        return {
            "name": self.shown_name,
            "model": self.model,
            "architecture": type(encoder.pretrained.model).__name__,
            "parameters": sum(weight.numel() for weight in encoder.pretrained.model.parameters()),
            **{key: getattr(how, key) for key in used},
            "precision": self.precision,
            "batch_tokens": encoder.batch_tokens,
            "notes": list(how.notes),
            **encoder.describe(),
        }


@dataclass(frozen=True)
class _Embedded:
    """Some texts as vectors."""

    vectors: "torch.Tensor"
    """fp32, (texts, dimensions), on the CPU."""
    counts: "TextCounts"
    truncated: frozenset[int]
    """Numbers of the texts that were cut to the maximum length."""
