"""A late-interaction model (ColBERT) as the reranker: a vector for each token, whose passages' can be stored."""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from evalkit.boundary import index_cache
from evalkit.boundary.errors import EvalkitError
from evalkit.boundary.progress import stage
from evalkit.rerankers.base import Reranker, check_texts
from evalkit.types import Pair, Scores, Settings

if TYPE_CHECKING:
    import torch

    from evalkit.scoring.multi_vector import MultiVectorModel, Task, TokenCount

_QUERIES = 16
"""Queries whose passages are embedded together: enough for full batches, and few enough for their vectors to fit."""


@dataclass
class LateInteraction(Reranker):
    """The late-interaction model `model`: a pair's score is MaxSim, as sentence-transformers computes it.

    For each vector of the query, that is the largest product with a vector of the passage, summed. Without `cache`,
    query and passages are embedded in each call, and the time is that of an application that has no vectors stored.
    With it, the vectors of all passages are computed or read before anything is timed.
    """

    model: str
    """Hub id or local folder."""
    query_length: int | None = None
    """Tokens of a query, beyond which it is truncated; null for what the model's files state."""
    max_length: int | None = None
    """Tokens of a passage, beyond which it is truncated; null for what the model's files state."""
    batch_size: int = 32
    """Texts embedded at a time."""
    cache: str = "off"
    """Where vectors of passages are stored, untimed: off (nowhere), auto (cache folder), or a folder."""
    device: str = "auto"
    """Device of the model: auto, cpu, cuda or cuda:N."""
    precision: str = "fp32"
    """Precision of the model: fp32, tf32, bf16 or fp16."""
    revision: str | None = None
    """Branch, tag or commit on the hub; null for the default branch."""
    name: str | None = None
    """Name in results and reports; null for the model's."""
    computes = True

    def __post_init__(self) -> None:
        self._loaded: MultiVectorModel | None = None
        self._stored: dict[str, torch.Tensor] = {}
        self._counts: dict[tuple[Task, str], TokenCount] = {}
        self._sizes: dict[str, int] = {}
        self._from_cache = False

    @property
    def label(self) -> str:
        """Return the setting `name`, else that of the model."""
        from evalkit.scoring.loading.model_location import short_name

        return self.name or short_name(self.model)

    def check(self) -> None:
        """Check settings, device, precision, the library, and that the model exists and is one of late interaction.

        Raises:
            EvalkitError: one of them is invalid or not available.
        """
        from evalkit.scoring.device import resolve_device, resolve_precision
        from evalkit.scoring.loading.model_checks import check_multi_vector
        from evalkit.scoring.multi_vector import check_installed

        for key in ("query_length", "max_length", "batch_size"):
            value = getattr(self, key)
            if value is not None and value < 1:
                raise EvalkitError(f"reranker.{key}={value}: give a number of 1 or more")
        index_cache.check(self.cache, "reranker.cache")
        check_installed()
        resolve_precision(self.precision, resolve_device(self.device))
        check_multi_vector(self.model, self.revision, "reranker.model")

    def load(self) -> None:
        """Load the model.

        Raises:
            EvalkitError: library, model, device or precision are not available, or its files do not fit each other.
        """
        from evalkit.scoring.multi_vector import load_multi_vector_model

        self._loaded = load_multi_vector_model(
            self.model, self.revision, self.query_length, self.max_length, self.batch_size, self.device, self.precision
        )
        self.check_s = self._loaded.check_s

    def prepare(self, pairs: Sequence[Pair], queries: Mapping[str, str], docs: Mapping[str, str]) -> None:
        """Count the tokens of all texts, and with `cache` compute the vectors of all passages or read them.

        Args:
            pairs: as for `Reranker.prepare`.
            queries: as for `Reranker.prepare`.
            docs: as for `Reranker.prepare`.

        Raises:
            EvalkitError: a passage has no text, or memory does not suffice.
        """
        check_texts(pairs, docs)
        passages = sorted({docs[pair.doc_id] for pair in pairs})  # in any order they are the same entry of the cache
        self._count("query", dict.fromkeys(queries[pair.query_id] for pair in pairs))
        self._count("document", passages)
        if self.cache != "off" and passages:
            self._store(passages)

    def token_offsets(self, texts: Sequence[str]) -> Sequence[Sequence[tuple[int, int]]]:
        """Return where the tokens of texts are.

        Args:
            texts: as for `Reranker.token_offsets`.
        """
        if not texts:
            return []
        from evalkit.scoring.token_offsets import token_offsets

        return token_offsets(self.loaded.encoder.tokenizer, texts)

    def score(
        self,
        pairs: Sequence[Pair],
        queries: Mapping[str, str],
        docs: Mapping[str, str],
        on_progress: Callable[[int], None] = lambda n: None,
    ) -> Scores:
        """Embed the queries, and the passages whose vectors are not stored, and compare them.

        Args:
            pairs: as for `Reranker.score`.
            queries: as for `Reranker.score`.
            docs: as for `Reranker.score`.
            on_progress: as for `Reranker.score`.

        Raises:
            EvalkitError: a passage has no text, or memory does not suffice.
        """
        check_texts(pairs, docs)
        groups: dict[str, list[int]] = {}
        for number, pair in enumerate(pairs):
            groups.setdefault(pair.query_id, []).append(number)
        logits: list[float | None] = [None] * len(pairs)
        together = list(groups.items())
        for start in range(0, len(together), _QUERIES):
            some = together[start : start + _QUERIES]
            asked = self.loaded.embed([queries[query_id] for query_id, _ in some], "query")
            found = self._vectors([docs[pairs[number].doc_id] for _, numbers in some for number in numbers])
            for query, (_, numbers) in zip(asked, some, strict=True):
                scores = self.loaded.compare(query, [found[docs[pairs[number].doc_id]] for number in numbers])
                for number, score in zip(numbers, scores, strict=True):
                    logits[number] = score
                on_progress(len(numbers))
        return Scores(tuple(logits), **self._statistics(pairs, queries, docs))

    def _vectors(self, passages: Sequence[str]) -> "dict[str, torch.Tensor]":
        missing = [text for text in dict.fromkeys(passages) if text not in self._stored]
        embedded = dict(zip(missing, self.loaded.embed(missing, "document"), strict=True))
        self._sizes.update({text: len(vectors) for text, vectors in embedded.items()})
        return {text: embedded[text] if text in embedded else self._stored[text] for text in passages}

    def _count(self, task: "Task", texts: "Mapping[str, None] | Sequence[str]") -> None:
        new = [text for text in texts if (task, text) not in self._counts]
        for text, count in zip(new, self.loaded.count(new, task), strict=True):
            self._counts[task, text] = count

    def _statistics(self, pairs: Sequence[Pair], queries: Mapping[str, str], docs: Mapping[str, str]) -> dict[str, Any]:
        """Return the counts of `Scores`; texts that `prepare` was not given are tokenized here."""
        self._count("query", dict.fromkeys(queries[pair.query_id] for pair in pairs))
        self._count("document", dict.fromkeys(docs[pair.doc_id] for pair in pairs))
        asked = {pair.query_id: self._counts["query", queries[pair.query_id]] for pair in pairs}
        found = {pair.doc_id: self._counts["document", docs[pair.doc_id]] for pair in pairs}
        embedded = [count for doc_id, count in found.items() if docs[doc_id] not in self._stored]
        tokens = sum(count.tokens for count in (*asked.values(), *embedded))
        return {
            "truncated_pairs": sum(asked[p.query_id].truncated or found[p.doc_id].truncated for p in pairs),
            "tokens": tokens,
            "padded_tokens": tokens,
            "unknown_query_share": _unknown_share(asked.values()),
            "unknown_passage_share": _unknown_share(found.values()),
        }

    def _store(self, passages: Sequence[str]) -> None:
        """Compute the vectors of passages, or read them from the cache."""
        import numpy as np
        import torch

        from evalkit.scoring import multi_vector

        bits = torch.int16  # numpy has no bf16

        def make() -> "list[torch.Tensor]":
            with stage("embedding passages", len(passages), "passages") as advance:
                return self.loaded.embed(passages, "document", advance, torch.device("cpu"))

        def pack(vectors: "list[torch.Tensor]") -> index_cache.Arrays:
            joined = torch.cat(vectors)
            ends = np.cumsum([0, *(len(one) for one in vectors)], dtype=np.int64)
            return {"vectors": (joined.view(bits) if joined.dtype == torch.bfloat16 else joined).numpy(), "ends": ends}

        def unpack(arrays: index_cache.Arrays) -> "list[torch.Tensor]":
            joined, ends = torch.from_numpy(arrays["vectors"]), arrays["ends"]
            if len(ends) != len(passages) + 1 or ends[-1] != len(joined):
                raise ValueError("its number of vectors is not that of the passages")
            joined = joined.view(torch.bfloat16) if joined.dtype == bits else joined
            return list(torch.split(joined, np.diff(ends).tolist()))

        place = index_cache.open_cache(self.cache, len(passages), 0)
        if place is None:
            vectors, from_cache = make(), False
        else:
            facts = {
                **self.loaded.fingerprint(),
                "precision": self.precision,
                "code": index_cache.hash_code(__file__, multi_vector.__file__),
                "versions": index_cache.package_versions("torch", "transformers", "sentence-transformers", "numpy"),
            }
            texts = {str(number): text for number, text in enumerate(passages)}
            got = place.get_or_create("late_interaction", facts, texts, make, pack, unpack)
            vectors, from_cache = got.value, got.from_cache
        self._stored = dict(zip(passages, vectors, strict=True))
        self._sizes.update({text: len(one) for text, one in self._stored.items()})
        self._from_cache = from_cache

    @property
    def loaded(self) -> "MultiVectorModel":
        """Return the model, which exists after `load`."""
        assert self._loaded is not None, "load() comes first"
        return self._loaded

    def describe(self) -> Settings:
        """Return the model, its revision, what its vectors depend on, and what a passage's take to store."""
        return {
            "name": self.label,
            "model": self.model,
            **self.loaded.describe(),
            "precision": self.precision,
            "cache": self.cache,
            **self._storage(),
        }

    def _storage(self) -> Settings:
        """Return the size of the vectors of those passages that were embedded."""
        if not self._sizes:
            return {}
        bytes_each = self.loaded.dimensions * self.loaded.pretrained.model.dtype.itemsize
        mean = sum(self._sizes.values()) / len(self._sizes)
        stored = sum(self._sizes[text] for text in self._stored)
        return {
            "vectors_per_passage": mean,
            "bytes_per_passage": mean * bytes_each,
            "stored_passages": len(self._stored),
            "stored_mb": stored * bytes_each / 2**20,
            "from_cache": self._from_cache,
        }


def _unknown_share(counts: "Collection[TokenCount]") -> float:
    return sum(count.unknown for count in counts) / max(sum(count.tokens for count in counts), 1)
