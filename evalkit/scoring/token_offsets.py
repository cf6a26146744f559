"""Where the tokens of texts are, in characters."""

from collections.abc import Sequence
from typing import Any


def token_offsets(tokenizer: Any, texts: Sequence[str]) -> list[list[tuple[int, int]]]:
    """Return start and end of each token of each text; special tokens are not added, and nothing is truncated.

    Args:
        tokenizer: A fast tokenizer of transformers.
        texts: Texts of any kind.
    """
    backend = tokenizer.backend_tokenizer
    backend.no_truncation()
    backend.no_padding()
    return [encoding.offsets for encoding in backend.encode_batch(list(texts), add_special_tokens=False)]
