"""The schemas of the configuration, one for each choice of component, and the folder that holds the YAML.

A component that is a dataclass is the schema itself: a subclass adds ``_target_`` and the settings that it shares with
the rest of the trial, such as ``${device}``. Slices are functions, so their schemas are written out here, and
tests/cli/test_config.py holds the two equal. Importing the components must not import torch.
"""

from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Annotated, Any

from omegaconf import MISSING

from evalkit.cost.protocol import CostProtocol
from evalkit.evaluation.blending import BlendSettings
from evalkit.first_stage import bm25, dense, fusion, splade
from evalkit.first_stage import trec_run as first_stage_run
from evalkit.rerankers import bi_encoder, cross_encoder, decoder, http, late_interaction, none
from evalkit.rerankers import trec_run as reranker_run
from evalkit.rerankers.chunking import ChunkSettings
from evalkit.results.gate.limits import Limits
from evalkit.scoring.cluster.settings import RaySettings
from evalkit.scoring.runtime import settings
from evalkit.slices import beir, files, hub, irds, packaged

PACKAGE = Path(__file__).parent.parent


def conf_dir() -> Path:
    """Return the folder of the configuration: the packaged one if this is an installed wheel, else the checkout's."""
    packaged = PACKAGE / "conf"
    return packaged if packaged.is_dir() else PACKAGE.parent / "conf"


def _target_of(component: Any) -> str:
    return f"{component.__module__}.{component.__qualname__}"


@dataclass
class CollectionSlice:
    """What the slices that read a collection have in common."""

    queries: int | None = None
    """Number of queries, drawn by seed; null for all."""
    corpus: str = "full"
    """full: every passage; judged: the judged ones, the collection's own candidates, and distractors."""
    distractors: int = 0
    """With corpus=judged: how many further passages are added, drawn by seed."""
    seed: int = 0
    """Draws the queries and the distractors."""
    unjudged_queries: str = "error"
    """What to do with queries without a relevant passage: error, or drop them."""
    empty_docs: str = "error"
    """What to do with passages without text: error, or drop them."""
    identical_ids: str = "auto"
    """Passages that have the id of the query: keep, drop, or auto (drop where the collection calls for it)."""
    qrels: str | None = None
    """Judgments in place of the collection's: a file (.tsv, .trec, .jsonl, .parquet, ...), folder or pattern."""
    judge: str | None = None
    """With qrels: the judge whose labels they are; of several judges one, or majority, or median."""
    judge_kind: str | None = None
    """human, llm or clicks; null for what the labels state, else llm where a judge is named."""
    reference: list[Any] = field(default_factory=list)
    """Published figures that the report shows next to the measured ones."""


@dataclass
class IrDatasetSlice(CollectionSlice):
    """See `evalkit.slices.irds.load`; `reference` is for `evalkit.results.published.check`."""

    _target_: str = _target_of(irds.load)
    dataset: str = MISSING
    """An ir_datasets id with documents, queries and qrels."""
    lang: str | None = None
    """Language code; null for that of the collection's documentation."""
    source: str = "corpus"
    """Where texts come from: corpus, candidates (MS MARCO's official file), or auto."""
    relevance_level: int | None = None
    """The lowest grade that is relevant; null for that of the collection's official measures, else 1."""


@dataclass
class BeirSlice(CollectionSlice):
    """See `evalkit.slices.beir.load`; `reference` is for `evalkit.results.published.check`."""

    _target_: str = _target_of(beir.load)
    path: str = MISSING
    """Folder with corpus.jsonl, queries.jsonl and qrels/SPLIT.tsv, or with the same parts in other formats."""
    split: str = "test"
    """Which file of qrels, and so which queries."""
    lang: str = "en"
    """Language code of the texts: it chooses the text analysis of BM25."""
    relevance_level: int = 1
    """The lowest grade that is relevant."""
    name: str | None = None
    """Name in results and reports; null for that of the folder."""
    subset: str | None = None
    """Of an MTEB folder in several parts: SUBSET-corpus, SUBSET-queries and SUBSET-qrels are read."""
    columns: Annotated[Any, "mapping or null"] = None
    """Names of columns other than the known ones, such as {docs: {text: body}}; also queries and qrels."""


@dataclass
class HubSlice(CollectionSlice):
    """See `evalkit.slices.hub.load`; `reference` is for `evalkit.results.published.check`."""

    _target_: str = _target_of(hub.load)
    dataset: str = MISSING
    """A dataset of the Hugging Face hub in the layout of MTEB or BEIR, such as mteb/scifact."""
    revision: str | None = None
    """Branch, tag or commit; null for the main branch. The result names the commit."""
    split: str = "test"
    """Which judgments, and so which queries."""
    subset: str | None = None
    """Of a dataset in several parts: SUBSET-corpus, SUBSET-queries and SUBSET-qrels are read."""
    lang: str = "en"
    """Language code of the texts: it chooses the text analysis of BM25."""
    relevance_level: int = 1
    """The lowest grade that is relevant."""
    name: str | None = None
    """Name in results and reports; null for that of the dataset."""
    columns: Annotated[Any, "mapping or null"] = None
    """Names of columns other than the known ones, such as {docs: {text: body}}; also queries and qrels."""


@dataclass
class FilesSlice(CollectionSlice):
    """See `evalkit.slices.files.load`; `reference` is for `evalkit.results.published.check`."""

    _target_: str = _target_of(files.load)
    docs_path: str = MISSING
    """The passages: a file, a folder, or a pattern such as 'corpus/*.parquet'."""
    queries_path: str = MISSING
    """The queries, likewise."""
    qrels: str = MISSING
    """The judgments, likewise."""
    lang: str = "en"
    """Language code of the texts: it chooses the text analysis of BM25."""
    relevance_level: int = 1
    """The lowest grade that is relevant."""
    name: str | None = None
    """Name in results and reports; null for that of the file of judgments."""
    columns: Annotated[Any, "mapping or null"] = None
    """Names of columns other than the known ones, such as {docs: {text: body}}; also queries and qrels."""


@dataclass
class PackagedSlice:
    """See `evalkit.slices.packaged.load`; `reference` is for `evalkit.results.published.check`."""

    _target_: str = _target_of(packaged.load)
    lang: str = "en"
    """Language: ar, de, en, es, hi, ja, ru, sw or zh."""
    queries: int | None = None
    """Number of queries, drawn by seed; null for all."""
    seed: int = 0
    """Draws the queries."""
    reference: list[Any] = field(default_factory=list)
    """Published figures that the report shows next to the measured ones."""


@dataclass
class BM25FirstStage(bm25.BM25):
    """`evalkit.first_stage.bm25.BM25`, with what a trial sets for all of its components."""

    _target_: str = _target_of(bm25.BM25)
    cache: str = "${first_stage_cache}"


@dataclass
class DenseFirstStage(dense.Dense):
    """`evalkit.first_stage.dense.Dense`, with what a trial sets for all of its components."""

    _target_: str = _target_of(dense.Dense)
    device: str = "${device}"
    precision: str = "${precision.encoder}"
    cache: str = "${first_stage_cache}"


@dataclass
class SpladeFirstStage(splade.Splade):
    """`evalkit.first_stage.splade.Splade`, with what a trial sets for all of its components."""

    _target_: str = _target_of(splade.Splade)
    device: str = "${device}"
    precision: str = "${precision.encoder}"
    cache: str = "${first_stage_cache}"


@dataclass
class TrecRunFirstStage(first_stage_run.TrecRun):
    """`evalkit.first_stage.trec_run.TrecRun`."""

    _target_: str = _target_of(first_stage_run.TrecRun)
    columns: Annotated[Any, "mapping or null"] = None


@dataclass
class FusionFirstStage(fusion.Fusion):
    """`evalkit.first_stage.fusion.Fusion`, with what a trial sets for all of its components."""

    _target_: str = _target_of(fusion.Fusion)
    tune_for: str = "${measures.names[0]}"


@dataclass
class CrossEncoderReranker(cross_encoder.CrossEncoder):
    """`evalkit.rerankers.cross_encoder.CrossEncoder`, with what a trial sets for all of its components."""

    _target_: str = _target_of(cross_encoder.CrossEncoder)
    label: Annotated[Any, "int, list or null"] = None
    device: str = "${device}"
    precision: str = "${precision.name}"
    store: str = "${store}"
    executor: Any = "${executor}"
    runtime: Any = "${runtime}"


@dataclass
class DecoderReranker(decoder.Decoder):
    """`evalkit.rerankers.decoder.Decoder`, with what a trial sets for all of its components."""

    _target_: str = _target_of(decoder.Decoder)
    device: str = "${device}"
    precision: str = "${precision.name}"
    store: str = "${store}"


@dataclass
class BiEncoderReranker(bi_encoder.BiEncoder):
    """`evalkit.rerankers.bi_encoder.BiEncoder`, with what a trial sets for all of its components."""

    _target_: str = _target_of(bi_encoder.BiEncoder)
    device: str = "${device}"
    precision: str = "${precision.encoder}"


@dataclass
class LateInteractionReranker(late_interaction.LateInteraction):
    """`evalkit.rerankers.late_interaction.LateInteraction`, with what a trial sets for all of its components."""

    _target_: str = _target_of(late_interaction.LateInteraction)
    device: str = "${device}"
    precision: str = "${precision.encoder}"


@dataclass
class HttpReranker(http.Http):
    """`evalkit.rerankers.http.Http`, with what a trial sets for all of its components."""

    _target_: str = _target_of(http.Http)
    store: str = "${store}"


@dataclass
class TrecRunReranker(reranker_run.TrecRun):
    """`evalkit.rerankers.trec_run.TrecRun`."""

    _target_: str = _target_of(reranker_run.TrecRun)
    columns: Annotated[Any, "mapping or null"] = None


@dataclass
class WithoutReranker(none.NoReranker):
    """`evalkit.rerankers.none.NoReranker`."""

    _target_: str = _target_of(none.NoReranker)


@dataclass
class PrecisionChoice:
    """One of `evalkit.scoring.device.PRECISIONS`."""

    name: str = MISSING
    """The precision of the reranker, and of an embedding first stage unless `encoder` has another one."""
    encoder: str = "${.name}"
    """The precision of an embedding first stage, which torch computes."""


@dataclass
class LocalExecutor:
    """The devices of this machine that ``device`` names."""

    name: str = "local"
    """The executor: ``local``."""


@dataclass
class Measures:
    """Measures in the notation of ir_measures; the first one gives the verdict."""

    names: list[str] = MISSING
    """Such as nDCG@10, RR(rel=2)@10, AP@100, R@depth, Success@5, RBP(p=0.8)@10, bpref, Judged@10, or mrr@10, P_10."""


@dataclass
class Gate(Limits):
    """Where the gate's baseline lies, and the limits of its checks."""

    baseline: str = MISSING
    """The baseline's file."""
    junit: str | None = None
    """A file that the verdict is written to as JUnit XML; null for none."""
    markdown: str | None = None
    """A file that the verdict is written to as a comment on a pull request; null for none."""


@dataclass
class Config:
    """The whole configuration."""

    name: str = MISSING
    """Name of the trial in results and reports."""
    task: str = "trial"
    """trial; gate: a trial, then its comparison with gate.baseline; quickcheck: one query and its passages."""
    slice: Any = MISSING
    first_stage: Any = MISSING
    reranker: Any = MISSING
    precision: PrecisionChoice = field(default_factory=PrecisionChoice)
    measures: Measures = field(default_factory=Measures)
    protocol: CostProtocol = MISSING
    chunks: ChunkSettings = field(default_factory=ChunkSettings)
    blend: BlendSettings = field(default_factory=BlendSettings)
    gate: Gate = field(default_factory=Gate)
    executor: Any = MISSING
    runtime: Any = MISSING
    depth: int | None = MISSING
    """How many candidates of each query are reranked; null for all that a finished run ranks, else 20."""
    device: str = "auto"
    """auto, cpu, cuda, cuda:N, cuda:all (one worker for each GPU), or mps on Apple machines (not yet tried there)."""
    store: str = "auto"
    """Where scored pairs are stored for later runs: auto (the cache folder), off, or a file."""
    history: str = "auto"
    """The index that finished runs are entered in: auto (the cache folder), off, or a file."""
    tracking: str = "none"
    """Where finished runs are logged besides: none, mlflow, or trackio, each an extra with settings of its own."""
    first_stage_cache: str = "auto"
    """Where indexes and embeddings are cached: auto (the cache folder, large ones only), off, or a folder."""
    time_limit_s: float | None = None
    """Seconds after which a trial is stopped and has failed; null for no limit."""
    log_format: str = "text"
    """Progress on standard error: text, or json (one object a line)."""
    out_dir: str = MISSING
    """Folder of the results."""
    overwrite: bool = False
    """Whether a finished result in out_dir may be replaced."""
    query: str | None = None
    """With task=quickcheck: a query of your own; null for the two built-in ones."""
    passages: Annotated[Any, "str or list of str or null"] = None
    """With task=quickcheck: its passages: a list of texts, or a file, .txt (one a line) or .jsonl (with ``text``)."""


SCHEMAS: dict[tuple[str | None, str], Any] = {
    (None, "schema"): Config,
    ("slice", "schema_irds"): IrDatasetSlice,
    ("slice", "schema_beir"): BeirSlice,
    ("slice", "schema_files"): FilesSlice,
    ("slice", "schema_hub"): HubSlice,
    ("slice", "schema_packaged"): PackagedSlice,
    ("first_stage", "schema_bm25"): BM25FirstStage,
    ("first_stage", "schema_dense"): DenseFirstStage,
    ("first_stage", "schema_splade"): SpladeFirstStage,
    ("first_stage", "schema_trec_run"): TrecRunFirstStage,
    ("first_stage", "schema_fusion"): FusionFirstStage,
    ("reranker", "schema_cross_encoder"): CrossEncoderReranker,
    ("reranker", "schema_decoder"): DecoderReranker,
    ("reranker", "schema_bi_encoder"): BiEncoderReranker,
    ("reranker", "schema_late_interaction"): LateInteractionReranker,
    ("reranker", "schema_http"): HttpReranker,
    ("reranker", "schema_trec_run"): TrecRunReranker,
    ("reranker", "schema_none"): WithoutReranker,
    ("chunks", "schema_chunks"): ChunkSettings,
    ("blend", "schema_blend"): BlendSettings,
    ("gate", "schema_gate"): Gate,
    ("runtime", "schema_torch"): settings.Runtime,
    ("runtime", "schema_onnxruntime"): settings.OnnxRuntime,
    ("runtime", "schema_openvino"): settings.OpenVino,
    ("executor", "schema_local"): LocalExecutor,
    ("executor", "schema_ray"): RaySettings,
}
"""(group, name) -> schema, for Hydra's store. A group's YAML names its schema first in its defaults list."""


@cache
def register_schemas() -> None:
    """Give Hydra the schemas, once in a process: it makes a configuration of each."""
    from hydra.core.config_store import ConfigStore

    for (group, name), schema in SCHEMAS.items():
        ConfigStore.instance().store(group=group, name=name, node=schema)
