"""A late-interaction model: sentence-transformers turns a text into a vector for each token, and compares by MaxSim."""

import logging
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from importlib.metadata import PackageNotFoundError, version
from typing import Any, Literal

import torch
from transformers.utils import logging as transformers_logging

from evalkit.boundary.errors import EvalkitError
from evalkit.scoring.device import device_name, resolve_device, resolve_precision
from evalkit.scoring.loading.load_errors import load_error
from evalkit.scoring.loading.model_location import load_path, local_folder
from evalkit.scoring.loading.pretrained import Pretrained, load_multi_vector_transformer
from evalkit.scoring.self_check import check_embeddings_agree

Task = Literal["query", "document"]

_LEAST = (6, 2)
"""The first version of sentence-transformers with these models."""

Digest = dict[str, tuple[tuple[int, ...], float]]


@dataclass(frozen=True)
class TokenCount:
    """What tokenization does to a text."""

    tokens: int
    """Those that the model computes, special tokens and query expansion included."""
    unknown: int
    """Those that the vocabulary does not know."""
    truncated: bool


@dataclass(frozen=True)
class MultiVectorModel:
    """A model on its device, with the lengths that texts are cut to."""

    encoder: Any
    """sentence-transformers' MultiVectorEncoder."""
    pretrained: Pretrained
    query_length: int
    max_length: int
    batch_size: int
    """Texts computed at a time."""
    device: torch.device
    check_s: float
    """Seconds of loading that were spent on checks."""

    @property
    def dimensions(self) -> int:
        """Return the numbers in a vector."""
        return int(self.encoder.get_embedding_dimension())

    def embed(
        self,
        texts: Sequence[str],
        task: Task,
        advance: Callable[[int], None] = lambda n: None,
        to: torch.device | None = None,
    ) -> list[torch.Tensor]:
        """Return the vectors of each text, (vectors, dimensions), in the model's precision.

        Args:
            texts: The texts.
            task: Whether they are queries or passages.
            advance: Is called with the number of texts of each batch.
            to: Where the vectors of each batch are moved; None for the model's device.

        Raises:
            EvalkitError: memory does not suffice.
        """
        encode = self.encoder.encode_query if task == "query" else self.encoder.encode_document
        # Texts of similar length share a batch, which is one call: the library sorts within a call only.
        order = sorted(range(len(texts)), key=lambda row: len(texts[row]), reverse=True)
        found: dict[int, torch.Tensor] = {}
        with self._memory():
            for start in range(0, len(order), self.batch_size):
                rows = order[start : start + self.batch_size]
                batch = encode([texts[row] for row in rows], batch_size=self.batch_size, show_progress_bar=False)
                found.update(zip(rows, (vectors.to(to or self.device) for vectors in batch), strict=True))
                advance(len(rows))
        return [found[row] for row in range(len(texts))]

    def compare(self, query: torch.Tensor, passages: Sequence[torch.Tensor]) -> list[float]:
        """Return the score of each passage by the model's own similarity, MaxSim, in fp32.

        Args:
            query: The vectors of a query, (vectors, dimensions).
            passages: Those of each passage, on any device.
        """
        with self._memory():
            joined = torch.cat(list(passages)).to(self.device, torch.float32)
            separate = list(torch.split(joined, [len(vectors) for vectors in passages]))
            scores = self.encoder.similarity([query.to(self.device, torch.float32)], separate)[0]
        return [float(score) for score in scores.tolist()]

    def count(self, texts: Sequence[str], task: Task) -> list[TokenCount]:
        """Return what tokenization does to each text.

        Args:
            texts: The texts.
            task: Whether they are queries or passages.
        """
        if not texts:
            return []
        tokenizer, prompt = self.encoder.tokenizer, self.prompt(task)
        length = self.query_length if task == "query" else self.max_length
        expansion = self.encoder[0].query_expansion if task == "query" else None
        least = expansion["length"] if expansion else 0
        lowered = self.pretrained.sbert_config.lowercase
        given = [prompt + (text.lower() if lowered else text) for text in texts]
        encoded = tokenizer(given, truncation=True, max_length=length)
        return [
            TokenCount(max(len(ids), least), ids.count(tokenizer.unk_token_id), bool(encoding.overflowing))
            for ids, encoding in zip(encoded["input_ids"], encoded.encodings, strict=True)
        ]

    def prompt(self, task: Task) -> str:
        """Return what the library puts before each text.

        Args:
            task: Whether they are queries or passages.
        """
        names = ("query",) if task == "query" else ("document", "passage", "corpus")
        name = next((name for name in names if name in self.encoder.prompts), self.encoder.default_prompt_name)
        return self.encoder.prompts.get(name) or ""

    def describe(self) -> dict[str, Any]:
        """Return the origin of the model, the settings of its parts, and where and in which type it computed."""
        pretrained = self.pretrained
        return {
            "architecture": type(pretrained.model).__name__,
            "parameters": sum(weight.numel() for weight in self.encoder.parameters()),
            "query_length": self.query_length,
            "max_length": self.max_length,
            "query_expansion": self.encoder[0].query_expansion,
            "query_prefix": self.prompt("query"),
            "doc_prefix": self.prompt("document"),
            "similarity": self.encoder.similarity_fn_name,
            "dimensions": self.dimensions,
            "batch_size": self.batch_size,
            "modules": [type(module).__name__ for module in self.encoder],
            "tokenizer_source": pretrained.tokenizer_source.description,
            "weights_ignored": list(pretrained.weights_ignored),
            "notes": list(pretrained.sbert_config.notes),
            "revision": pretrained.revision,
            "device": str(self.device),
            "device_name": device_name(self.device),
            "dtype": str(pretrained.model.dtype).removeprefix("torch."),
            "sentence_transformers": version("sentence-transformers"),
        }

    def fingerprint(self) -> dict[str, Any]:
        """Return what the vectors of passages depend on besides settings, code and libraries."""
        return {
            "revision": self.pretrained.revision,
            "max_length": self.max_length,
            "doc_prefix": self.prompt("document"),
            "parts": [_settings(module) for module in list(self.encoder)[1:]],
            "batch_size": self.batch_size,
            "device": f"{self.device.type}, {device_name(self.device)}",
        }

    @contextmanager
    def _memory(self) -> Iterator[None]:
        try:
            with torch.inference_mode():
                yield
        except torch.OutOfMemoryError:
            raise EvalkitError(
                f"out of memory on {self.device} while embedding; lower reranker.batch_size (now {self.batch_size}) "
                "or reranker.max_length"
            ) from None


def check_installed() -> None:
    """Check that sentence-transformers is there, in a version that has late-interaction models.

    Raises:
        EvalkitError: it is not.
    """
    try:
        found = version("sentence-transformers")
    except PackageNotFoundError:
        found = "not installed"
    numbers = [int(part) for part in found.split(".")[:2] if part.isdecimal()]
    if tuple(numbers) < _LEAST:
        raise EvalkitError(
            f"reranker=late_interaction needs sentence-transformers {'.'.join(map(str, _LEAST))} or newer, which is "
            f"{found if found == 'not installed' else f'{found} here'}: pip install 'evalkit-rerank[late-interaction]'"
        )


def load_multi_vector_model(
    name: str,
    revision: str | None,
    query_length: int | None,
    max_length: int | None,
    batch_size: int,
    device: str,
    precision: str,
    setting: str = "reranker.model",
) -> MultiVectorModel:
    """Load a late-interaction model.

    evalkit loads the transformer too, on the CPU and only to check it: sentence-transformers gives a weight that the
    files do not have random numbers, and a warning.

    Args:
        name: A local folder, or a name on the hub.
        revision: A branch, a tag or a commit; None for the main branch.
        query_length: Tokens of a query at most; None for what the model's files state.
        max_length: Tokens of a passage at most; None for what the model's files state.
        batch_size: Texts computed at a time.
        device: Device: auto, cpu, cuda or cuda:N.
        precision: A key of `evalkit.scoring.device.PRECISIONS`.
        setting: The configuration key that names the model, for messages.

    Raises:
        EvalkitError: the library, the model, device or precision are not available, or the model's files do not fit
            each other.
    """
    check_installed()
    on = resolve_device(device)
    mode = resolve_precision(precision, on)
    started = time.perf_counter()
    pretrained = load_multi_vector_transformer(name, revision, torch.device("cpu"), mode, setting)
    expected = _digest(pretrained.model)
    pretrained = replace(pretrained, model=None)  # two copies of the weights would be in the measured memory
    check_s = time.perf_counter() - started
    encoder = _load_encoder(name, pretrained.commit, on, mode.dtype, setting)
    started = time.perf_counter()
    transformer = encoder.transformers_model
    if differing := [key for key, found in _digest(transformer).items() if expected.get(key) != found]:
        raise EvalkitError(
            f"{setting}={name}: sentence-transformers loads {len(differing)} of its weights otherwise than "
            f"transformers does (e.g. {differing[0]}); save the model again with sentence-transformers, "
            "MultiVectorEncoder(OLD).save_pretrained(PATH), and give that folder"
        )
    pretrained = replace(pretrained, model=transformer)
    query, doc = _set_lengths(encoder, query_length, max_length, pretrained)
    model = MultiVectorModel(encoder, pretrained, query, doc, batch_size, on, 0.0)
    prefix = f"{setting}={name}: {type(transformer).__name__}"
    for task in ("query", "document"):
        check_embeddings_agree(lambda texts, task=task: _means(model.embed(texts, task)), precision, prefix)  # type: ignore[misc]
    return replace(model, check_s=check_s + time.perf_counter() - started)


def _load_encoder(name: str, commit: str | None, on: torch.device, dtype: torch.dtype, setting: str) -> Any:
    from sentence_transformers import MultiVectorEncoder

    # Its warnings are of what is counted or refused here: truncated queries, foreign formats, missing weights.
    logging.getLogger("sentence_transformers").setLevel(logging.ERROR)
    quiet, verbosity = local_folder(name) is not None, transformers_logging.get_verbosity()
    quiet = quiet and transformers_logging.is_progress_bar_enabled()
    if quiet:
        transformers_logging.disable_progress_bar()
    transformers_logging.set_verbosity_error()
    try:
        encoder = MultiVectorEncoder(
            load_path(name, commit),
            revision=commit,
            device=str(on),
            trust_remote_code=False,
            # A pickle can run code when it is read.
            model_kwargs={"use_safetensors": True, "weights_only": True, "dtype": dtype},
        )
        return encoder.eval().requires_grad_(False)
    except torch.OutOfMemoryError:
        raise EvalkitError(
            f"{setting}={name} does not fit into the memory of {on}; use precision=fp16, a smaller model or another "
            "device"
        ) from None
    except Exception as error:  # a broken file causes errors of many types
        raise load_error(name, commit, setting, error) from None
    finally:
        transformers_logging.set_verbosity(verbosity)
        if quiet:
            transformers_logging.enable_progress_bar()


def _set_lengths(
    encoder: Any, query_length: int | None, max_length: int | None, pretrained: Pretrained
) -> tuple[int, int]:
    """Set the lengths that are given, and return those that the model works with."""
    transformer = encoder[0]
    expansion = transformer.query_expansion  # to a length that each query has, or has at least
    is_fixed = expansion is not None and expansion["strategy"] == "fixed"
    if query_length is not None:
        transformer.query_length = query_length
        if expansion is not None:
            length = query_length if is_fixed else min(query_length, expansion["length"])
            transformer.query_expansion = {**expansion, "length": length}
    if max_length is not None:
        transformer.document_length = max_length
    fixed = transformer.query_expansion["length"] if is_fixed else None
    found = []
    lengths = (("query_length", fixed or transformer.query_length), ("max_length", transformer.document_length))
    for key, own in lengths:
        length = own or encoder.max_seq_length or pretrained.max_tokens
        if length is None:
            raise EvalkitError(
                f"{pretrained.setting}={pretrained.name}: its files state no length; add reranker.{key}=TOKENS"
            )
        pretrained.check_length(length, f"reranker.{key}")
        found.append(int(length))
    return found[0], found[1]


def _digest(model: torch.nn.Module) -> Digest:
    """Return the shape of each weight and the sum of its numbers, which tells random ones from those in a file.

    A pooler is left out: no vector of a token depends on it, and files may be without it.
    """
    weights = {key: weight for key, weight in model.state_dict().items() if "pooler" not in key}
    return {key: (tuple(weight.shape), weight.cpu().double().sum().item()) for key, weight in weights.items()}


def _means(vectors: Sequence[torch.Tensor]) -> torch.Tensor:
    return torch.stack([one.float().mean(0) for one in vectors])


def _settings(module: Any) -> str:
    return f"{type(module).__name__} {module.get_config_dict() if hasattr(module, 'get_config_dict') else ''}"
