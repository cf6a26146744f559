"""Before a model scores anything: pairs get the ids that the tokenizer's own call gives them."""

from evalkit.errors import EvalkitError
from evalkit.scoring.loading.tokenizer_source import PROBES
from evalkit.scoring.token_table import TokenTable
from evalkit.scoring.tokenize import PairTokenizer


def check_ids(pairs: PairTokenizer) -> None:
    """Check that pairs are put together as the tokenizer's own call does it, whole and cut by Hugging Face's rule.

    Raises:
        EvalkitError: the ids or the token types of a probe are others.
    """
    _compare_ids(pairs, truncation=False)
    if pairs.truncation == "longest_first":  # FlagReranker's rule is none that the call knows
        _compare_ids(PairTokenizer(pairs.tokenizer, _CUT_TO, pairs.truncation), truncation=True)


def _compare_ids(pairs: PairTokenizer, truncation: bool) -> None:
    found = TokenTable(pairs).tokenize(PROBES)
    for row, probe in enumerate(PROBES):
        if found.cut[row] and not truncation:
            continue
        ours = found.batch([row])
        theirs = pairs.tokenizer(
            *probe,
            truncation=truncation,
            max_length=pairs.max_length if truncation else None,
            return_token_type_ids=pairs.types.used,
        )
        same = ours.ids.tolist() == list(theirs["input_ids"])
        if pairs.types.used:
            same = same and ours.type_ids.tolist() == list(theirs["token_type_ids"])
        if not same:
            raise EvalkitError(
                f"the tokenizer ({type(pairs.tokenizer).__name__}) puts the pair {probe[0][:40]!r}, {probe[1][:40]!r} "
                f"together in another way than its parts: {list(theirs['input_ids'])[:12]} where "
                f"{ours.ids.tolist()[:12]} was put together; evalkit cannot score with it"
            )


_CUT_TO = 24
"""Tokens that pairs are cut to where the rules of cutting are compared."""
