"""A cross-encoder as the reranker: BGE and kin, or any sequence classifier with one label."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from evalkit.errors import EvalkitError
from evalkit.types import Pair, Scores, Settings

PACKAGED = "packaged"
"""The name, as `reranker.model`, of the small cross-encoder that comes with evalkit."""
_PACKAGED_FOLDER = Path(__file__).parent.parent / "data" / "reranker"


@dataclass
class CrossEncoder:
    """The model `model` (a hub id, a local folder, or "packaged"), computing on `device` at `precision`."""

    model: str
    max_length: int
    truncation: str
    batch_tokens: int
    device: str
    precision: str
    revision: str | None = None
    name: str | None = None
    computes = True
    _state: dict[str, Any] = field(default_factory=dict, repr=False)

    def check(self) -> None:
        """Check settings, device, precision, and that the model is there and a reranker.

        Raises:
            EvalkitError: one of them cannot be had.
        """
        from evalkit.scoring.device import resolve_device, resolve_precision
        from evalkit.scoring.pairs import check_truncation
        from evalkit.scoring.pretrained import check_classifier

        resolve_precision(self.precision, resolve_device(self.device))
        check_truncation(self.truncation)
        check_classifier(self._where(), self.revision, "reranker.model")

    def load(self) -> None:
        """Load model and tokenizer onto the device.

        Raises:
            EvalkitError: model, device or precision cannot be had, or the settings do not fit the model.
        """
        from evalkit.scoring.device import resolve_device, resolve_precision
        from evalkit.scoring.pretrained import load_classifier
        from evalkit.scoring.scorer import Scorer

        device = resolve_device(self.device)
        precision = resolve_precision(self.precision, device)
        pretrained = load_classifier(self._where(), self.revision, device, precision, "reranker.model")
        scorer = Scorer(pretrained, device, self.max_length, self.truncation, self.batch_tokens)
        self._state = {"device": device, "precision": precision, "pretrained": pretrained, "scorer": scorer}

    def _where(self) -> str:
        return str(_PACKAGED_FOLDER) if self.model == PACKAGED else self.model

    def score(
        self,
        pairs: Sequence[Pair],
        queries: Mapping[str, str],
        docs: Mapping[str, str],
        on_progress: Callable[[int], None] = lambda n: None,
    ) -> Scores:
        """Return the logit of each pair.

        Raises:
            EvalkitError: a passage has no text, out of memory, or a logit that is not a finite number.
        """
        absent = {pair.doc_id for pair in pairs if pair.doc_id not in docs}
        if absent:
            raise EvalkitError(
                f"{len(absent)} passages of the first stage have no text in this slice (e.g. {min(absent)!r}), so they "
                "cannot be scored; read more of the corpus (slice.corpus=full), or give the run of this slice"
            )
        texts = [(queries[pair.query_id], docs[pair.doc_id]) for pair in pairs]
        scored = self._state["scorer"].score(texts, on_progress)
        return Scores(
            tuple(scored.logits.tolist()),
            scored.truncated_pairs,
            scored.tokens,
            scored.padded_tokens,
            scored.tokenize_s,
            scored.forward_s,
        )

    def describe(self) -> Settings:
        """Return the model, its revision, and the precision, device and limits in force."""
        import torch

        from evalkit.scoring.device import device_name

        pretrained, device, precision = (self._state[key] for key in ("pretrained", "device", "precision"))
        config = pretrained.model.config
        return {
            "name": self.name or Path(self.model).name,
            "model": self.model,
            "revision": pretrained.revision,
            "architecture": type(pretrained.model).__name__,
            "layers": config.num_hidden_layers,
            "hidden": config.hidden_size,
            "parameters": sum(p.numel() for p in pretrained.model.parameters()),
            "tokenizer": type(pretrained.tokenizer).__name__,
            "max_length": self.max_length,
            "truncation": self.truncation,
            "batch_tokens": self.batch_tokens,
            "attention": f"padded, {config._attn_implementation}",
            "device": str(device),
            "device_name": device_name(device),
            "precision": precision.name,
            "dtype": str(next(pretrained.model.parameters()).dtype).removeprefix("torch."),
            "tf32": precision.tf32,
            "threads": torch.get_num_threads() if device.type == "cpu" else None,
        }
