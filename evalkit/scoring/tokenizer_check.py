"""Checks that pairs get the same ids as from the tokenizer's own call, before a model scores anything."""

from evalkit.boundary.errors import EvalkitError
from evalkit.scoring.loading.tokenizer_source import PROBES
from evalkit.scoring.pair_tokenizer import PairTokenizer
from evalkit.scoring.token_cache import TokenCache

_TRUNCATE_TO = 24
"""The maximum length at which truncation is compared: shorter than most of the probes."""


def check_pair_encoding(tokenizer: PairTokenizer) -> None:
    """Check that pairs are encoded as by the tokenizer's own call, whole and truncated by `longest_first`.

    Args:
        tokenizer: The tokenizer to check, on `PROBES`.

    Raises:
        EvalkitError: ids or token types of a probe differ.
    """
    _compare(tokenizer, truncation=False)
    if tokenizer.truncation == "longest_first":  # only_second is FlagReranker's, and no option of the tokenizer's call
        _compare(PairTokenizer(tokenizer.tokenizer, _TRUNCATE_TO, tokenizer.truncation), truncation=True)


def _compare(tokenizer: PairTokenizer, truncation: bool) -> None:
    tokenized = TokenCache(tokenizer).tokenize(PROBES)
    for row, probe in enumerate(PROBES):
        if tokenized.truncated[row] and not truncation:
            continue
        ours = tokenized.batch([row])
        expected = tokenizer.tokenizer(
            *probe,
            truncation=truncation,
            max_length=tokenizer.max_length if truncation else None,
            return_token_type_ids=tokenizer.token_types.used,
        )
        same = ours.ids.tolist() == list(expected["input_ids"])
        if tokenizer.token_types.used:
            same = same and ours.type_ids.tolist() == list(expected["token_type_ids"])
        if not same:
            raise EvalkitError(
                f"the tokenizer ({type(tokenizer.tokenizer).__name__}) encodes the pair {probe[0][:40]!r}, "
                f"{probe[1][:40]!r} differently from its two texts with special tokens around them: "
                f"{list(expected['input_ids'])[:12]} instead of {ours.ids.tolist()[:12]}; evalkit cannot score with it"
            )
