"""From the logits of a masked language model to sparse vectors over its vocabulary, as SPLADE defines them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from tokenizers import Tokenizer

from evalkit.boundary.errors import EvalkitError, NotFiniteError
from evalkit.boundary.progress import stage
from evalkit.scoring.loading.pretrained import Pretrained
from evalkit.scoring.loading.sbert_config import SbertConfig
from evalkit.scoring.text_encoder import Batch, TextCounts, TextEncoder

_CHUNK = 500
"""Queries looked up at a time: their vectors take 4 bytes for each token of the vocabulary."""


def pool_logits(logits: torch.Tensor, mask: torch.Tensor, pooling: str, activation: str) -> torch.Tensor:
    """Return the weight of each token of the vocabulary in each text, (texts, vocabulary), in fp32.

    With pooling max, the weight of token j in a text is the maximum over its positions i of log(1 + relu(logit_ij))
    (Formal et al. 2021, SPLADE v2, arXiv:2109.10086); with sum, the sum over i (Formal et al. 2021, SPLADE, SIGIR,
    arXiv:2107.05720). All positions count but padding, those of [CLS] and [SEP] included, as in the authors' code
    (github.com/naver/splade).

    Args:
        logits: Of a masked language model, (texts, tokens, vocabulary); its content is overwritten.
        mask: 1 for tokens and 0 for padding, (texts, tokens).
        pooling: ``max`` or ``sum``.
        activation: ``relu``, or ``log1p_relu`` for log(1 + log(1 + relu(logit))) (arXiv:2504.14839).
    """
    logits.masked_fill_(mask.unsqueeze(-1) == 0, float("-inf"))
    # The activation increases, so that the maximum can be taken first: one pass over the logits, and no copy of them.
    weights = logits.amax(1).float() if pooling == "max" else logits.float()
    weights = weights.relu_().log1p_()
    if activation == "log1p_relu":
        weights = weights.log1p_()
    return weights if pooling == "max" else weights.sum(1)


def sparse_encoder(pretrained: Pretrained, max_length: int, batch_tokens: int, device: torch.device) -> TextEncoder:
    """Return the encoder of texts as vectors over the vocabulary.

    Args:
        pretrained: A masked language model.
        max_length: Tokens of a text, beyond which it is truncated.
        batch_tokens: Tokens of a batch at most, padding included.
        device: Where the model is.
    """
    files = pretrained.sbert_config
    pooling, activation = files.pooling or "max", files.activation or "relu"

    def vectors(model: Any, batch: Batch) -> torch.Tensor:
        return pool_logits(model(**batch).logits, batch["attention_mask"], pooling, activation)

    # The logits of a batch are over the whole vocabulary: one batch at a time.
    return TextEncoder(pretrained, vectors, max_length, batch_tokens, device, batch_a_core=False)


@dataclass(frozen=True)
class SparseVectors:
    """Sparse vectors of texts: the entries that are not 0, in no particular order of texts."""

    shape: tuple[int, int]
    """Texts, and tokens of the vocabulary."""
    rows: npt.NDArray[np.int32]
    """The text of each entry, (entries,)."""
    token_ids: npt.NDArray[np.int32]
    """Its token, (entries,)."""
    weights: npt.NDArray[np.float32]
    """Its weight, (entries,)."""


def encode_sparse(
    encoder: "TextEncoder | TokenWeights",
    prefix: str,
    texts: Sequence[str],
    label: str,
    top_tokens: int | None,
    where: str,
) -> tuple[SparseVectors, TextCounts]:
    """Return the sparse vectors of texts, and the counts of the texts.

    Args:
        encoder: The encoder.
        prefix: What stands before each text.
        texts: The texts.
        label: What they are, for the progress.
        top_tokens: How many of the largest weights of a text remain; of equal ones, those with the lower token ids.
            None for all.
        where: The beginning of messages: the setting and the model.

    Raises:
        NotFiniteError: a weight is NaN or infinite.
    """
    parts: list[SparseVectors] = []

    def take(numbers: list[int], vectors: torch.Tensor) -> None:
        if not bool(torch.isfinite(vectors).all()):
            raise NotFiniteError(
                f"{where}: the model gave weights that are no finite numbers; a wider precision (bf16, fp32) may help, "
                "or its weights are broken"
            )
        parts.append(_largest(_entries(numbers, vectors), top_tokens))

    counts = encoder.encode(prefix, texts, label, take)
    joined = SparseVectors(
        (len(texts), parts[0].shape[1] if parts else 0),
        np.concatenate([np.empty(0, np.int32), *(part.rows for part in parts)]),
        np.concatenate([np.empty(0, np.int32), *(part.token_ids for part in parts)]),
        np.concatenate([np.empty(0, np.float32), *(part.weights for part in parts)]),
    )
    return joined, counts


def _entries(numbers: Sequence[int], vectors: torch.Tensor) -> SparseVectors:
    at = vectors.nonzero(as_tuple=True)
    rows, token_ids, weights = (part.cpu().numpy() for part in (*at, vectors[at]))
    shape = (vectors.shape[0], vectors.shape[1])
    return SparseVectors(shape, np.array(numbers, np.int32)[rows], token_ids.astype(np.int32), weights)


def _largest(vectors: SparseVectors, top_tokens: int | None) -> SparseVectors:
    if top_tokens is None:
        return vectors
    order = np.lexsort((vectors.token_ids, -vectors.weights, vectors.rows))  # by text, its largest weights first
    rows = vectors.rows[order]
    keep = order[np.arange(len(rows)) - np.searchsorted(rows, rows) < top_tokens]
    return SparseVectors(vectors.shape, vectors.rows[keep], vectors.token_ids[keep], vectors.weights[keep])


class TokenWeights:
    """Queries without a model: each token that occurs in a query has the weight that a file states for it."""

    def __init__(self, files: SbertConfig, vocabulary: int, max_length: int, prefix: str) -> None:
        """Read weights and tokenizer.

        Args:
            files: What the model's files state; `query_weights` and `query_tokenizer` are there.
            vocabulary: Tokens of the model that encodes passages.
            max_length: Tokens of a query, beyond which it is truncated.
            prefix: The beginning of messages: the setting and the model.

        Raises:
            EvalkitError: the files cannot be read, or are not of this model.
        """
        try:
            (weights,) = load_file(str(files.query_weights)).values()
            self._tokenizer = Tokenizer.from_file(str(files.query_tokenizer))
        except Exception as error:  # tokenizers raises its errors as plain exceptions
            reason = (str(error).strip().splitlines() or ["no message"])[0][:200]
            kind = "weights" if isinstance(error, OSError | ValueError | SafetensorError) else "weights or tokenizer"
            raise EvalkitError(f"{prefix}: the {kind} of queries cannot be read ({reason}); copy the folder") from None
        size = self._tokenizer.get_vocab_size()
        if weights.dim() != 1 or not size <= len(weights) <= vocabulary:
            raise EvalkitError(
                f"{prefix}: the weights of queries have the shape {'x'.join(map(str, weights.shape))}, their tokenizer "
                f"has {size} tokens and the model of passages {vocabulary}; they belong to different models"
            )
        self._weights = weights.float()
        self._tokenizer.no_padding()
        self._tokenizer.enable_truncation(max_length)

    def encode(
        self, prefix: str, texts: Sequence[str], label: str, take: Callable[[list[int], torch.Tensor], None]
    ) -> TextCounts:
        """Encode queries, with the arguments of `evalkit.scoring.text_encoder.TextEncoder.encode`.

        Special tokens are not added, and a token that occurs several times counts once, as in sentence-transformers'
        SparseStaticEmbedding.

        Args:
            prefix: What stands before each query.
            texts: The queries.
            label: What they are, such as ``queries``.
            take: Is called with the numbers of some queries and their vectors, (queries, weights in the file).
        """
        counts, unknown_id = TextCounts(), _unknown_id(self._tokenizer)
        with stage(f"embedding {label}", len(texts), label) as advance:
            for start in range(0, len(texts), _CHUNK):
                chunk = [prefix + text for text in texts[start : start + _CHUNK]]
                encoded = self._tokenizer.encode_batch(chunk, add_special_tokens=False)
                vectors = torch.zeros((len(chunk), len(self._weights)))
                for row, encoding in enumerate(encoded):
                    vectors[row, encoding.ids] = self._weights[encoding.ids]
                    unknown = 0 if unknown_id is None else encoding.ids.count(unknown_id)
                    counts += TextCounts(len(encoding.ids), unknown, bool(encoding.overflowing))
                take(list(range(start, start + len(chunk))), vectors)
                advance(len(chunk))
        return counts


def _unknown_id(tokenizer: Any) -> int | None:
    token = getattr(tokenizer.model, "unk_token", None)
    return None if token is None else tokenizer.token_to_id(token)
