"""Pairs as long as MS MARCO's: TREC DL 2019's own where the texts are at hand, else drawn from their lengths.

    python benchmarks/msmarco_pairs.py [--texts FOLDER]     prints the quantiles that pairs are drawn from

The real ones are the 43 judged topics of TREC DL 2019 and Anserini's BM25 top 100 for each: 4,300 pairs, the passages
of a topic best first, a topic after the other.
"""

import argparse
from collections.abc import Sequence
from itertools import groupby
from pathlib import Path

import numpy as np
from model_folder import PACKAGED, packaged_texts, read_texts
from tokenizers import Tokenizer

from evalkit.boundary.errors import EvalkitError

Pairs = list[tuple[str, str]]

_CHECKOUT = Path(__file__).parents[1]
DEPTH = 100
"""Passages a query."""

PERCENT = (0, 1, 5, 10, 25, 50, 75, 90, 95, 99, 100)
QUERY_TOKENS = (4, 4, 4, 4, 5, 7, 8, 10, 12, 13, 13)
PASSAGE_TOKENS = (19, 31, 42, 49, 59, 75, 108, 136, 152, 183, 258)
"""Tokens of TREC DL 2019's queries and BM25 top 100 at these percentiles, special tokens not counted, by BERT's
uncased vocabulary: printed by ``python benchmarks/msmarco_pairs.py``."""


def find_texts(asked: Path | None) -> Path | None:
    """Return the folder of TREC DL 2019's texts: the one asked for, or one in `shared` next to or in the checkout.

    Raises:
        EvalkitError: the folder asked for lacks one of the files.
    """
    files = ("corpus.jsonl", "queries.jsonl", "runs/bm25.trec")
    if asked:
        if lacking := [name for name in files if not (asked / name).exists()]:
            raise EvalkitError(f"--texts={asked} has no {lacking[0]}; it needs {', '.join(files)}")
        return asked
    places = (base / "shared" / "data" / "msmarco-dl19" for base in (_CHECKOUT.parent, _CHECKOUT))
    return next((place for place in places if all((place / name).exists() for name in files)), None)


def real_pairs(folder: Path, count: int) -> Pairs:
    """Return the first `count` pairs of the BM25 run; beyond its end, further passages are dealt to the queries.

    Raises:
        EvalkitError: more are asked for than there are queries times passages.
    """
    docs, queries = dict(read_texts(folder / "corpus.jsonl")), dict(read_texts(folder / "queries.jsonl"))
    with (folder / "runs" / "bm25.trec").open(encoding="utf-8") as lines:
        ranked = [(line.split()[0], line.split()[2]) for line in lines]
    if count > len(queries) * len(docs) // 2:
        raise EvalkitError(f"--pairs={count}: at most {len(queries) * len(docs) // 2} can be made of these texts")
    known, names, rng = set(ranked), list(docs), np.random.default_rng(0)
    while len(ranked) < count:
        for query in queries:
            fresh = [(query, names[i]) for i in rng.permutation(len(names))[: 2 * DEPTH]]
            ranked += [pair for pair in fresh if pair not in known][:DEPTH]
            known.update(ranked[-DEPTH:])
    return [(queries[query], docs[doc]) for query, doc in ranked[:count]]


def drawn_pairs(count: int, tokenizer: Tokenizer) -> Pairs:
    """Return `count` pairs, `DEPTH` passages a query, of MS MARCO's lengths in tokens of `tokenizer`.

    Each text is a run of words of the packaged English passages that starts anywhere and is cut at its drawn length.
    """
    words = " ".join(text for text in packaged_texts() if text.isascii()).split()
    ends = np.cumsum([0, *(len(e.ids) for e in tokenizer.encode_batch(words, add_special_tokens=False))])
    rng = np.random.default_rng(0)

    def text(quantiles: Sequence[int]) -> str:
        length = np.interp(rng.uniform(0, 100), PERCENT, quantiles)
        start = int(rng.integers(int(np.searchsorted(ends, ends[-1] - quantiles[-1]))))
        stop = int(np.searchsorted(ends, ends[start] + length))
        return " ".join(words[start : max(stop, start + 1)])

    pairs: Pairs = []
    while len(pairs) < count:
        query = text(QUERY_TOKENS)
        pairs += [(query, text(PASSAGE_TOKENS)) for _ in range(DEPTH)]
    return pairs[:count]


def by_query(pairs: Pairs) -> list[Pairs]:
    """Return the pairs of each query apart, in the order given."""
    return [list(group) for _, group in groupby(pairs, key=lambda pair: pair[0])]


def main() -> None:
    """Print the quantiles of the real pairs."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--texts", type=Path)
    folder = find_texts(parser.parse_args().texts)
    if folder is None:
        raise SystemExit("error: there is no ../shared/data/msmarco-dl19; name its folder with --texts")
    tokenizer = Tokenizer.from_file(str(PACKAGED / "tokenizer.json"))
    tokenizer.no_padding()
    tokenizer.no_truncation()
    print("percentiles:", *PERCENT)
    for name, texts in zip(("query", "passage"), zip(*real_pairs(folder, 4300), strict=True), strict=True):
        lengths = [len(e.ids) for e in tokenizer.encode_batch(list(texts), add_special_tokens=False)]
        quantiles = np.percentile(lengths, PERCENT, method="nearest")
        print(f"{name} tokens:", *quantiles, f"(mean {np.mean(lengths):.1f})")


if __name__ == "__main__":
    main()
