"""What a configuration may hold: one small schema a component, and the folder the YAML lies in."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from omegaconf import MISSING

from evalkit.cost.protocol import CostProtocol
from evalkit.results.gate.limits import Limits

PACKAGE = Path(__file__).parent.parent


def conf_dir() -> Path:
    """Return the folder of the configuration: the packaged one if this is an installed wheel, else the checkout's."""
    packaged = PACKAGE / "conf"
    return packaged if packaged.is_dir() else PACKAGE.parent / "conf"


@dataclass
class IrDatasetSlice:
    """See `evalkit.slices.irds.load`; `reference` is for `evalkit.results.published.check`."""

    _target_: str = "evalkit.slices.irds.load"
    dataset: str = MISSING
    lang: str | None = None
    queries: int | None = None
    corpus: str = "full"
    distractors: int = 0
    source: str = "corpus"
    seed: int = 0
    relevance_level: int | None = None
    unjudged_queries: str = "error"
    empty_docs: str = "error"
    identical_ids: str = "auto"
    qrels: str | None = None
    reference: list[Any] = field(default_factory=list)


@dataclass
class BeirSlice:
    """See `evalkit.slices.beir.load`; `reference` is for `evalkit.results.published.check`."""

    _target_: str = "evalkit.slices.beir.load"
    path: str = MISSING
    split: str = "test"
    lang: str = "en"
    queries: int | None = None
    corpus: str = "full"
    distractors: int = 0
    seed: int = 0
    relevance_level: int = 1
    unjudged_queries: str = "error"
    empty_docs: str = "error"
    identical_ids: str = "auto"
    qrels: str | None = None
    name: str | None = None
    reference: list[Any] = field(default_factory=list)


@dataclass
class PackagedSlice:
    """See `evalkit.slices.packaged.load`; `reference` is for `evalkit.results.published.check`."""

    _target_: str = "evalkit.slices.packaged.load"
    lang: str = "en"
    queries: int | None = None
    seed: int = 0
    reference: list[Any] = field(default_factory=list)


@dataclass
class BM25FirstStage:
    """See `evalkit.first_stage.bm25.BM25`."""

    _target_: str = "evalkit.first_stage.bm25.BM25"
    k1: float = 0.9
    b: float = 0.4
    method: str = "lucene"
    analysis: str = "auto"
    cache: str = "${first_stage_cache}"
    name: str = "bm25"


@dataclass
class DenseFirstStage:
    """See `evalkit.first_stage.dense.Dense`."""

    _target_: str = "evalkit.first_stage.dense.Dense"
    model: str = MISSING
    pooling: str | None = None
    normalize: bool | None = None
    max_length: int | None = None
    batch_tokens: int = 16384
    device: str = "${device}"
    precision: str = "${precision.name}"
    query_prefix: str | None = None
    doc_prefix: str | None = None
    cache: str = "${first_stage_cache}"
    revision: str | None = None
    name: str | None = None


@dataclass
class TrecRun:
    """See `evalkit.first_stage.trec_run.TrecRun` and `evalkit.rerankers.trec_run.TrecRun`."""

    _target_: str = MISSING
    path: str = MISSING
    name: str | None = None
    order: str = "score"


@dataclass
class CrossEncoderReranker:
    """See `evalkit.rerankers.cross_encoder.CrossEncoder`."""

    _target_: str = "evalkit.rerankers.cross_encoder.CrossEncoder"
    model: str = MISSING
    max_length: int = 512
    truncation: str = "only_second"
    batch_tokens: int | None = None
    path: str = "auto"
    deterministic: bool = False
    compile: bool = False
    cuda_graphs: bool = False
    self_check: bool = True
    device: str = "${device}"
    precision: str = "${precision.name}"
    store: str = "${store}"
    batch_timeout_s: float = 600.0
    executor: Any = "${executor}"
    revision: str | None = None
    prompt: str | None = None
    name: str | None = None


@dataclass
class NoReranker:
    """See `evalkit.rerankers.none.NoReranker`."""

    _target_: str = "evalkit.rerankers.none.NoReranker"


@dataclass
class PrecisionChoice:
    """One of `evalkit.scoring.device.PRECISIONS`."""

    name: str = MISSING


@dataclass
class LocalExecutor:
    """The devices of this machine that ``device`` names."""

    name: str = "local"


@dataclass
class RayExecutor:
    """See `evalkit.scoring.cluster.settings.RaySettings`."""

    name: str = "ray"
    workers: int | None = None
    num_gpus: float = 1.0
    num_cpus: float = 0.0
    address: str = "local"
    batches_per_block: int = 8
    retries: int = 3
    timeout_s: float = 1800.0


@dataclass
class Measures:
    """Measures in the notation of ir_measures; the first one gives the verdict."""

    names: list[str] = MISSING


@dataclass
class Gate(Limits):
    """Where the gate's baseline lies, and the limits of its checks."""

    baseline: str = MISSING
    junit: str | None = None


@dataclass
class Config:
    """The whole configuration."""

    name: str = MISSING
    task: str = "trial"
    slice: Any = MISSING
    first_stage: Any = MISSING
    reranker: Any = MISSING
    precision: PrecisionChoice = field(default_factory=PrecisionChoice)
    measures: Measures = field(default_factory=Measures)
    protocol: CostProtocol = MISSING
    gate: Gate = field(default_factory=Gate)
    executor: Any = MISSING
    depth: int | None = MISSING
    device: str = "auto"
    store: str = "auto"
    first_stage_cache: str = "auto"
    time_limit_s: float | None = None
    log_format: str = "text"
    out_dir: str = MISSING
    overwrite: bool = False


SCHEMAS: dict[tuple[str | None, str], Any] = {
    (None, "schema"): Config,
    ("slice", "schema_irds"): IrDatasetSlice,
    ("slice", "schema_beir"): BeirSlice,
    ("slice", "schema_packaged"): PackagedSlice,
    ("first_stage", "schema_bm25"): BM25FirstStage,
    ("first_stage", "schema_dense"): DenseFirstStage,
    ("first_stage", "schema_trec_run"): TrecRun,
    ("reranker", "schema_cross_encoder"): CrossEncoderReranker,
    ("reranker", "schema_trec_run"): TrecRun,
    ("reranker", "schema_none"): NoReranker,
    ("gate", "schema_gate"): Gate,
    ("executor", "schema_local"): LocalExecutor,
    ("executor", "schema_ray"): RayExecutor,
}
"""(group, name) -> schema, for Hydra's store. A group's YAML names its schema first in its defaults list."""
