"""Any reranker over the chunks of each passage: it scores every chunk, and a passage gets one score of them."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from evalkit.boundary.errors import EvalkitError
from evalkit.rerankers import chunking
from evalkit.rerankers.adapter import adapt_reranker
from evalkit.rerankers.base import CallPrice, Engine, Reranker, check_texts
from evalkit.rerankers.chunked_engine import ChunkedEngine
from evalkit.rerankers.chunking import ChunkSettings
from evalkit.types import ChunkCounts, Pair, Scores, Settings

Progress = Callable[[int], None]


def in_chunks(reranker: object, settings: ChunkSettings) -> Reranker:
    """Return the reranker over chunks of each passage, or as it is with ``chunks.by=none``.

    Args:
        reranker: one that satisfies the contract, whether or not it inherits from `Reranker`.
        settings: how passages are split.

    Raises:
        EvalkitError: a setting is out of range, or the reranker scores no texts.
    """
    settings.check()
    adapted = adapt_reranker(reranker)
    return adapted if settings.by == "none" else Chunked(adapted, settings)


class Chunked(Reranker):
    """The reranker `of` over chunks.

    Each passage is split once, in `prepare`, as an application has its chunks stored. Times, tokens and memory are
    those of all chunks; pairs remain those of a query and a passage, so that depth and prices keep their meaning.
    """

    def __init__(self, of: Reranker, settings: ChunkSettings) -> None:
        """Wrap a reranker.

        Args:
            of: one that has not been loaded.
            settings: how passages are split, not ``none``.

        Raises:
            EvalkitError: the reranker scores no texts.
        """
        self.of, self.settings = of, settings
        if not (of.reranks and of.computes):
            raise EvalkitError(
                f"chunks={settings.by}: this reranker ({of.shown_name}) computes no score of a text, so there is "
                "nothing to split; use chunks=none"
            )
        self.name, self.remote, self.concurrent = of.name, of.remote, of.concurrent
        self._size = settings.size
        self._chunks: dict[str, tuple[str, ...]] = {}

    @property
    def shown_name(self) -> str:
        """Return that of the reranker."""
        return self.of.shown_name

    @property
    def check_s(self) -> float:  # type: ignore[override]  # the reranker's own, which changes
        """Return the seconds that the reranker spent on checks."""
        return self.of.check_s

    @property
    def device(self) -> str:  # type: ignore[override]  # the reranker's own, which changes
        """Return the device of the reranker."""
        return self.of.device

    @property
    def price(self) -> CallPrice | None:  # type: ignore[override]  # the reranker's own
        """Return what the reranker's server charges."""
        return self.of.price

    @property
    def engine(self) -> Engine | None:  # type: ignore[override]  # it exists after loading
        """Return the reranker's engine, whose pairs have the tokens of all chunks."""
        engine = self.of.engine
        return None if engine is None else ChunkedEngine(engine, self.scored_chunks)

    def check(self) -> None:
        """Check the reranker, and that passages can be split by its tokens if that is wanted.

        Raises:
            EvalkitError: the reranker refuses something, or has no tokenizer.
        """
        self.of.check()
        if self.settings.by == "tokens" and self.of.token_offsets(()) is None:
            raise EvalkitError(
                f"chunks=tokens: this reranker ({self.of.shown_name}) does not state where the tokens of a text are; "
                "use chunks=sentences"
            )

    def check_protocol(self, protocol: Mapping[str, Any]) -> None:
        """Refuse what the reranker refuses.

        Raises:
            EvalkitError: it does.
        """
        self.of.check_protocol(protocol)

    def load(self) -> None:
        """Load the reranker, and find the size of a chunk.

        Raises:
            EvalkitError: something that is needed is not available, or no chunk would fit into a pair.
        """
        self.of.load()
        size, most = self.settings.size, self.of.describe().get("max_length")
        if self.settings.by == "sentences":
            self._size = size or chunking.SENTENCES
        elif size is None and not most:
            raise EvalkitError(
                f"chunks.size=null: this reranker ({self.of.shown_name}) states no max_length; give how many tokens a "
                "chunk has"
            )
        elif size is not None and most and size >= most:
            raise EvalkitError(
                f"chunks.size={size}: a pair of this reranker has {most} tokens at most, with those of the query; give "
                f"fewer, such as {most * 3 // 4}"
            )
        else:
            self._size = size or max(int(most or 0) * 3 // 4, 1)
        self.settings.shared(self.size)

    def prepare(self, pairs: Sequence[Pair], queries: Mapping[str, str], docs: Mapping[str, str]) -> None:
        """Split all passages, and let the reranker prepare for their chunks.

        Args:
            pairs: as for `Reranker.prepare`.
            queries: as for `Reranker.prepare`.
            docs: as for `Reranker.prepare`.

        Raises:
            EvalkitError: a passage has no text, or the reranker cannot prepare.
        """
        asked = self._of_chunks(pairs, docs)
        self.of.prepare(asked.pairs, queries, asked.docs)

    def score(
        self,
        pairs: Sequence[Pair],
        queries: Mapping[str, str],
        docs: Mapping[str, str],
        on_progress: Progress = lambda n: None,
    ) -> Scores:
        """Score the chunks of each passage with `score` of the reranker.

        Args:
            pairs: as for `Reranker.score`.
            queries: as for `Reranker.score`.
            docs: as for `Reranker.score`.
            on_progress: as for `Reranker.score`.

        Raises:
            EvalkitError: as for `Reranker.score`.
        """
        return self._scored(self.of.score, pairs, queries, docs, on_progress)

    def score_all(
        self,
        pairs: Sequence[Pair],
        queries: Mapping[str, str],
        docs: Mapping[str, str],
        on_progress: Progress = lambda n: None,
    ) -> Scores:
        """Score the chunks of each passage with `score_all` of the reranker.

        Args:
            pairs: as for `Reranker.score`.
            queries: as for `Reranker.score`.
            docs: as for `Reranker.score`.
            on_progress: as for `Reranker.score`.

        Raises:
            EvalkitError: as for `Reranker.score_all`.
        """
        return self._scored(self.of.score_all, pairs, queries, docs, on_progress)

    def score_whole(
        self,
        pairs: Sequence[Pair],
        queries: Mapping[str, str],
        docs: Mapping[str, str],
        on_progress: Progress = lambda n: None,
    ) -> Scores:
        """Score passages whole, as without chunks; for comparison, not for a timing.

        Args:
            pairs: as for `Reranker.score`; those whose passage is a single chunk need no other score.
            queries: as for `Reranker.score`.
            docs: as for `Reranker.score`.
            on_progress: as for `Reranker.score`.

        Raises:
            EvalkitError: as for `Reranker.score_all`.
        """
        self.of.prepare(pairs, queries, docs)
        return self.of.score_all(pairs, queries, docs, on_progress)

    @property
    def size(self) -> int:
        """Return the tokens or sentences of a chunk, which are known after `load`."""
        assert self._size is not None, "load() comes first"
        return self._size

    @property
    def states_max_length(self) -> bool:
        """Return whether the reranker states at how many tokens it truncates, as one that counts such pairs does."""
        return bool(self.of.describe().get("max_length"))

    def count(self, pairs: Sequence[Pair], docs: Mapping[str, str]) -> ChunkCounts:
        """Return how passages were split.

        Args:
            pairs: those that were scored.
            docs: doc_id -> text.
        """
        numbers = [len(self.chunks(docs[doc_id])) for doc_id in {pair.doc_id for pair in pairs}]
        settings, size = self.settings, self.size
        return ChunkCounts(
            by=settings.by,
            size=size,
            overlap=settings.shared(size),
            aggregate=settings.aggregate,
            top=settings.top if settings.aggregate == "mean_top" else None,
            passages=len(numbers),
            split_passages=sum(number > 1 for number in numbers),
            chunks=sum(numbers),
            most_chunks=max(numbers, default=0),
        )

    def describe(self) -> Settings:
        """Return what the reranker does, and how passages were split."""
        settings, size, facts = self.settings, self.size, self.of.describe()
        how = f"top {settings.top}" if settings.aggregate == "mean_top" else settings.aggregate
        return {
            "name": self.of.shown_name,
            **facts,
            "chunks": f"{how} of {size} {settings.by}, overlap {settings.shared(size)}",
        }

    def token_offsets(self, texts: Sequence[str]) -> Sequence[Sequence[tuple[int, int]]] | None:
        """Return those of the reranker.

        Args:
            texts: as for `Reranker.token_offsets`.
        """
        return self.of.token_offsets(texts)

    def chunks(self, text: str) -> tuple[str, ...]:
        """Return the chunks of a passage, in order.

        Args:
            text: the passage.
        """
        self._split([text])
        return self._chunks[text]

    def _split(self, texts: Sequence[str]) -> None:
        new = [text for text in dict.fromkeys(texts) if text not in self._chunks]
        if not new:
            return
        of_tokens = self.settings.by == "tokens"
        units = self.of.token_offsets(new) if of_tokens else [chunking.sentences(text) for text in new]
        assert units is not None, "check() comes first"
        overlap = self.settings.shared(self.size)
        for text, of_text in zip(new, units, strict=True):
            self._chunks[text] = chunking.split(text, of_text, self.size, overlap)

    def scored_chunks(self, texts: Sequence[str]) -> list[tuple[str, ...]]:
        """Return the chunks of each passage that are scored: all, or the first.

        Args:
            texts: passages, shape (n,).
        """
        self._split(texts)
        most = 1 if self.settings.aggregate == "first" else None
        return [self._chunks[text][:most] for text in texts]

    def _of_chunks(self, pairs: Sequence[Pair], docs: Mapping[str, str]) -> "_Asked":
        check_texts(pairs, docs)
        doc_ids = list(dict.fromkeys(pair.doc_id for pair in pairs))
        of_doc = dict(zip(doc_ids, self.scored_chunks([docs[doc_id] for doc_id in doc_ids]), strict=True))
        # The number first: then no two ids of chunks are equal, whatever characters an id has.
        texts = {f"{number} {doc_id}": text for doc_id, found in of_doc.items() for number, text in enumerate(found)}
        counts = [len(of_doc[pair.doc_id]) for pair in pairs]
        asked = [
            Pair(pair.query_id, f"{number} {pair.doc_id}")
            for pair, count in zip(pairs, counts, strict=True)
            for number in range(count)
        ]
        return _Asked(asked, texts, counts)

    def _scored(
        self,
        score: Callable[[Sequence[Pair], Mapping[str, str], Mapping[str, str], Progress], Scores],
        pairs: Sequence[Pair],
        queries: Mapping[str, str],
        docs: Mapping[str, str],
        on_progress: Progress,
    ) -> Scores:
        asked = self._of_chunks(pairs, docs)
        done = reported = 0

        def advance(chunks: int) -> None:
            nonlocal done, reported
            done += chunks
            whole = min(done * len(pairs) // max(len(asked.pairs), 1), len(pairs))
            on_progress(whole - reported)
            reported = whole

        found = score(asked.pairs, queries, asked.docs, advance)
        return _of_passages(found, asked, self.settings)


@dataclass(frozen=True)
class _Asked:
    """Pairs of queries and chunks."""

    pairs: Sequence[Pair]
    docs: Mapping[str, str]
    """Id of a chunk -> its text."""
    counts: Sequence[int]
    """How many of `pairs` each pair of a query and a passage became."""


def _of_passages(found: Scores, asked: _Asked, settings: ChunkSettings) -> Scores:
    """Return the scores of passages; counts of pairs become those of passages in the same proportion, rounded up."""
    logits, start = [], 0
    for count in asked.counts:
        logits.append(chunking.aggregate(found.logits[start : start + count], settings))
        start += count
    pairs, chunks = len(asked.counts), max(len(asked.pairs), 1)

    def share(count: int) -> int:
        return -(-count * pairs // chunks)

    from_store, computed = share(found.from_store), found.computed_pairs
    return replace(
        found,
        logits=tuple(logits),
        truncated_pairs=share(found.truncated_pairs),
        from_store=from_store,
        computed_pairs=None if computed is None else min(share(computed), pairs - from_store),
        chunk_pairs=len(asked.pairs),
        tie_order=None,  # that of chunks orders no passages
    )
