#!/usr/bin/env python3
"""Train the small cross-encoder reranker that ships with evalkit, on a CPU.

A six-layer MiniLM bi-encoder is turned into a cross-encoder by distillation: for every training query
BM25 proposes passages, the bi-encoder's own cosine (mixed with SPLADE++ scores and relevance labels
where the data has them) says how good they are, and the cross-encoder learns to order and score them.

    train_reranker.py prepare  --data DIR --work DIR --base DIR --exclude-queries FILE...
    train_reranker.py train    --work DIR --base DIR --steps N
    train_reranker.py export   --work DIR --base DIR --out MODEL_DIR
    train_reranker.py evaluate --model MODEL_DIR --beir DIR --run FILE
    train_reranker.py speed    --model MODEL_DIR

Needs torch, transformers, numpy, bm25s, PyStemmer and pytrec_eval.
"""

from __future__ import annotations

import argparse
import json
import math
import random
import re
import shutil
import time
import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import torch
from torch.nn import functional
from transformers import AutoModel, AutoModelForSequenceClassification, AutoTokenizer
from transformers.utils import logging as hf_logging

COS_SCALE = 20.0  # one unit of teacher logit is 0.05 of cosine
COS_CENTRE = 0.5  # the cosine that a score of zero stands for
SPLADE_SCALE = 8.0  # spread, in logits, between a list's best and worst SPLADE++ score
LABEL_BONUS = 2.0  # added to the teacher logit of a labelled passage
TEACHER_TOKENS = 256


# ---------------------------------------------------------------- data


def read_jsonl(path: Path) -> Iterator[dict]:
    """Yield the objects of a JSON-lines file."""
    with path.open(encoding="utf-8") as lines:
        for line in lines:
            if line.strip():
                yield json.loads(line)


def write_jsonl(path: Path, rows: Iterable[dict]) -> None:
    """Write objects as JSON lines, under the final name only once complete."""
    part = path.with_suffix(".part")
    with part.open("w", encoding="utf-8") as out:
        for row in rows:
            out.write(json.dumps(row, ensure_ascii=False) + "\n")
    part.replace(path)


def normalise(text: str) -> str:
    """The form in which two queries count as the same: NFKC, lower case, letters and digits only."""
    return " ".join(re.findall(r"\w+", unicodedata.normalize("NFKC", text).casefold()))


def read_qrels(path: Path) -> dict[str, dict[str, int]]:
    """Read a BEIR qrels file (tab-separated, with a header line)."""
    qrels: dict[str, dict[str, int]] = defaultdict(dict)
    for line in path.read_text(encoding="utf-8").splitlines()[1:]:
        query_id, doc_id, grade = line.split("\t")
        qrels[query_id][doc_id] = int(grade)
    return dict(qrels)


class Pool:
    """Distinct passages and distinct queries, collected from all training sources."""

    def __init__(self, excluded: set[str]) -> None:
        self.excluded = excluded
        self.dropped: dict[str, str] = {}
        self.passages: dict[str, int] = {}
        self.searchable: set[int] = set()
        self.queries: dict[str, dict] = {}

    def passage(self, text: str, searchable: bool = True) -> int:
        """Number of a passage; `searchable` ones may be retrieved for any query."""
        number = self.passages.setdefault(" ".join(text.split()), len(self.passages))
        if searchable:
            self.searchable.add(number)
        return number

    def query(self, text: str, source: str) -> dict | None:
        """The record of a query, or None if it is excluded."""
        key = normalise(text)
        if not key or key in self.excluded:
            self.dropped[key] = source
            return None
        fresh = {"text": " ".join(text.split()), "source": source, "positive": [], "own": [], "splade": {}}
        return self.queries.setdefault(key, fresh)


def build_pool(data: Path, exclude: list[Path]) -> Pool:
    """Read every source under `data`, leaving out the queries of the `exclude` files."""
    pool = Pool({normalise(row["text"]) for path in exclude for row in read_jsonl(path)})
    for name in ("msmarco_dev_slice", "sure_nq"):
        number = {
            row["_id"]: pool.passage(f"{row.get('title', '')} {row['text']}")
            for row in read_jsonl(data / name / "corpus.jsonl")
        }
        qrels = read_qrels(data / name / "qrels" / "train.tsv")
        for row in read_jsonl(data / name / "queries.jsonl"):
            query = pool.query(row["text"], name)
            if query:
                relevant = qrels.get(row["_id"], {})
                query["positive"] += [number[doc] for doc in relevant if relevant[doc] > 0 and doc in number]
    for row in read_jsonl(data / "msmarco_dl21_dl22_splade_teacher.jsonl"):
        passage, query = pool.passage(row["text"]), pool.query(row["query"], "dl21_dl22")
        if query:
            query["own"].append(passage)
            if row["splade"] is not None:
                query["splade"][str(passage)] = row["splade"]
    for name in ("miracl_pool_train", "flagembedding_examples", "wikiqa_train", "trecqa_train_all"):
        sentences = name in ("wikiqa_train", "trecqa_train_all")
        for row in read_jsonl(data / f"{name}.jsonl"):
            if row.get("lang", "en") != "en":
                continue
            query = pool.query(row["query"], name)
            passage = pool.passage(row["text"], searchable=not sentences)
            if query:
                query["positive" if row["label"] else "own"].append(passage)
    return pool


def add_headings(pool: Pool, count: int, seed: int) -> None:
    """Add queries made of the short first sentence, often a heading, of passages from the TREC DL lists.

    The pool holds some 180 passages on each topic of those lists, so BM25 finds near misses for them.
    """
    texts, rng = list(pool.passages), random.Random(seed)
    numbers = sorted({p for q in pool.queries.values() if q["source"] == "dl21_dl22" for p in q["own"]})
    rng.shuffle(numbers)
    for number in numbers:
        heading, _, rest = texts[number].partition(". ")
        good = re.fullmatch(r"[A-Z][\w',&:/() -]+", heading) and 3 <= len(heading.split()) <= 9
        if count and good and len(rest.split()) >= 15:
            query = pool.query(heading, "headings")
            if query and query["source"] == "headings":
                query["source_passage"] = number
                count -= 1


# ---------------------------------------------------------------- candidates


def bm25_candidates(texts: dict[int, str], queries: list[str], depth: int) -> list[list[int]]:
    """The `depth` best passages for each query by BM25 (k1 0.9, b 0.4, English stems)."""
    import bm25s
    import Stemmer

    stemmer = Stemmer.Stemmer("english")
    numbers = list(texts)
    index = bm25s.BM25(k1=0.9, b=0.4)
    index.index(
        bm25s.tokenize(list(texts.values()), stopwords="en", stemmer=stemmer, show_progress=False),
        show_progress=False,
    )
    tokens = bm25s.tokenize(queries, stopwords="en", stemmer=stemmer, show_progress=False)
    rows, scores = index.retrieve(tokens, k=depth, show_progress=False)
    return [[numbers[i] for i, s in zip(*pair, strict=True) if s > 0] for pair in zip(rows, scores, strict=True)]


def sample_list(query: dict, ranked: list[int], used: set[int], size: int, rng: random.Random) -> list[int]:
    """Passages for one training list: a labelled one, most from the top of the ranking, a few from deep."""
    chosen: list[int] = []

    def take(source: list[int], count: int) -> None:
        fresh = [p for p in source if p not in used and p not in chosen]
        chosen.extend(rng.sample(fresh, min(count, len(fresh))))

    take(query["positive"], 1)
    deep = size // 4
    take(ranked[:15], (size - deep) // 2 + 1 - len(chosen))
    take(ranked[:50], size - deep - len(chosen))
    take(ranked[50:], size - len(chosen))
    take(ranked, size - len(chosen))
    used.update(chosen)
    return chosen


def make_lists(
    queries: list[dict], ranked: list[list[int]], rounds: dict[str, int], size: int, seed: int
) -> tuple[list[dict], list[dict]]:
    """Shuffled training lists, and the held-out lists that recipes are compared on."""
    rng = random.Random(seed)
    held_out: set[int] = set()
    for source, count in (("msmarco_dev_slice", 80), ("dl21_dl22", 20)):
        held_out.update(rng.sample([i for i, q in enumerate(queries) if q["source"] == source], count))
    train, valid = [], []
    for i, query in enumerate(queries):
        mixed = [p for p in ranked[i] if p != query.get("source_passage")]
        if query["source"] == "dl21_dl22":  # SPLADE++'s order first, then BM25's
            by_splade = sorted(query["splade"], key=lambda p: -query["splade"][p])
            top = [int(p) for p in by_splade]
            rest = [p for p in query["own"] if str(p) not in query["splade"]]
            mixed = [p for pair in zip(top, rest, strict=False) for p in pair]
        if i in held_out:
            valid.append({"query": i, "passages": list(dict.fromkeys(mixed[:30] + query["positive"]))})
            continue
        used: set[int] = set()
        for _ in range(rounds.get(query["source"], 1)):
            passages = sample_list(query, mixed, used, size, rng)
            if len(passages) == size:
                train.append({"query": i, "passages": passages})
    rng.shuffle(train)
    return train, valid


# ---------------------------------------------------------------- teacher


@torch.inference_mode()
def embed(model: torch.nn.Module, tokenizer, texts: list[str], batch: int = 32) -> np.ndarray:
    """Unit-length mean-pooled embeddings."""
    order = sorted(range(len(texts)), key=lambda i: len(texts[i]))
    out = np.zeros((len(texts), model.config.hidden_size), np.float32)
    for start in range(0, len(order), batch):
        rows = order[start : start + batch]
        inputs = tokenizer(
            [texts[i] for i in rows], truncation=True, max_length=TEACHER_TOKENS, padding=True, return_tensors="pt"
        )
        hidden = model(**inputs).last_hidden_state
        mask = inputs["attention_mask"].unsqueeze(-1)
        out[rows] = functional.normalize((hidden * mask).sum(1) / mask.sum(1), dim=1).numpy()
    return out


def embed_cached(path: Path, base: Path, texts: list[str], wanted: list[int], shard: int = 2048) -> np.ndarray:
    """Embed the `wanted` texts into an array in a file; rows it already holds are not embedded again."""
    tokenizer, model = AutoTokenizer.from_pretrained(base), AutoModel.from_pretrained(base).eval()
    if not path.exists():
        np.save(path, np.zeros((len(texts), model.config.hidden_size), np.float32))
    vectors = np.load(path, mmap_mode="r+")
    todo = [i for i in wanted if not vectors[i].any()]
    for start in range(0, len(todo), shard):
        rows, began = todo[start : start + shard], time.time()
        vectors[rows] = embed(model, tokenizer, [texts[i] for i in rows])
        vectors.flush()
        rate = len(rows) / (time.time() - began)
        print(f"  {path.stem}: {start + len(rows)}/{len(todo)} ({rate:.0f}/s)", flush=True)
    return vectors


def teacher_logits(query: dict, passages: list[int], cosines: np.ndarray) -> np.ndarray:
    """Target scores of a list: scaled cosine, averaged with SPLADE++ where known, plus the label bonus."""
    target = COS_SCALE * (cosines - COS_CENTRE)
    if query["splade"]:
        known = np.array(list(query["splade"].values()))
        low, spread = known.min(), max(np.ptp(known), 1e-6)
        splade = np.array([query["splade"].get(str(p), low) for p in passages])
        missing = np.array([str(p) not in query["splade"] for p in passages])
        splade = SPLADE_SCALE * ((splade - low) / spread - 0.5) - missing
        target = 0.5 * target + 0.5 * splade
    return target + LABEL_BONUS * np.isin(passages, query["positive"])


def prepare(args: argparse.Namespace) -> None:
    """Build pool, candidates, lists and teacher scores under --work; each step is skipped if it is there."""
    args.work.mkdir(parents=True, exist_ok=True)
    pool_file, lists_file = args.work / "pool.json", args.work / "lists.json"
    if not pool_file.exists():
        pool = build_pool(args.data, args.exclude_queries)
        add_headings(pool, args.headings, args.seed)
        sources = list(pool.dropped.values())
        print(
            f"dropped {len(sources)} training queries that are test queries: "
            + str({s: sources.count(s) for s in sorted(set(sources))})
        )
        content = {
            "passages": list(pool.passages),
            "searchable": sorted(pool.searchable),
            "queries": list(pool.queries.values()),
        }
        pool_file.write_text(json.dumps(content), encoding="utf-8")
    content = json.loads(pool_file.read_text(encoding="utf-8"))
    passages, queries = content["passages"], content["queries"]
    print(f"{len(queries)} queries, {len(passages)} passages, {len(content['searchable'])} of them searchable")
    if not lists_file.exists():
        texts = {number: passages[number] for number in content["searchable"]}
        ranked = bm25_candidates(texts, [q["text"] for q in queries], 100)
        rounds = dict(pair.split("=") for pair in args.rounds.split(","))
        train, valid = make_lists(queries, ranked, {k: int(v) for k, v in rounds.items()}, args.list_size, args.seed)
        lists_file.write_text(json.dumps({"train": train, "valid": valid}), encoding="utf-8")
    lists = json.loads(lists_file.read_text(encoding="utf-8"))
    lists["train"] = lists["train"][: args.max_lists]
    ordered = lists["valid"] + lists["train"]
    wanted = list(dict.fromkeys(p for row in ordered for p in row["passages"]))
    print(f"{len(lists['train'])} training lists, {len(lists['valid'])} held out, {len(wanted)} distinct passages")
    asked = sorted({row["query"] for row in ordered})
    query_vectors = embed_cached(args.work / "queries.npy", args.base, [q["text"] for q in queries], asked)
    passage_vectors = embed_cached(args.work / "passages.npy", args.base, passages, wanted)
    for name, rows in lists.items():
        out = []
        for row in rows:
            query = queries[row["query"]]
            cosines = passage_vectors[row["passages"]] @ query_vectors[row["query"]]
            target = teacher_logits(query, row["passages"], cosines)
            out.append(
                {
                    "query": query["text"],
                    "source": query["source"],
                    "passages": [passages[p] for p in row["passages"]],
                    "target": [round(float(t), 4) for t in target],
                    "cosine": [round(float(c), 4) for c in cosines],
                    "label": [int(p in query["positive"]) for p in row["passages"]],
                }
            )
        write_jsonl(args.work / f"{name}.jsonl", out)


# ---------------------------------------------------------------- student


def new_student(base: Path) -> torch.nn.Module:
    """The base model with one output, dropout off, word embeddings frozen."""
    model = AutoModelForSequenceClassification.from_pretrained(
        base, num_labels=1, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0
    )
    torch.nn.init.normal_(model.classifier.weight, std=0.02)
    torch.nn.init.zeros_(model.classifier.bias)
    model.bert.embeddings.requires_grad_(False)
    return model


def tokenize_pairs(tokenizer, queries: list[str], passages: list[str], max_tokens: int) -> list[dict]:
    """Token and type ids of each pair; only the passage is cut."""
    enc = tokenizer(queries, passages, truncation="only_second", max_length=max_tokens)
    return [{"input_ids": i, "token_type_ids": t} for i, t in zip(enc["input_ids"], enc["token_type_ids"], strict=True)]


def by_length(pairs: list[dict], micro: int) -> Iterator[tuple[list[int], dict[str, torch.Tensor]]]:
    """Split pairs into micro-batches of similar length; yield their positions and padded tensors."""
    order = sorted(range(len(pairs)), key=lambda i: len(pairs[i]["input_ids"]))
    for start in range(0, len(order), micro):
        rows = order[start : start + micro]
        width = len(pairs[rows[-1]]["input_ids"])
        batch = {
            "attention_mask": torch.tensor(
                [[1] * len(pairs[i]["input_ids"]) + [0] * (width - len(pairs[i]["input_ids"])) for i in rows]
            )
        }
        for key in ("input_ids", "token_type_ids"):
            batch[key] = torch.tensor([pairs[i][key] + [0] * (width - len(pairs[i][key])) for i in rows])
        yield rows, batch


def bert_layer(layer, hidden: torch.Tensor, mask: torch.Tensor, first_only: bool) -> torch.Tensor:
    """One BERT layer; with `first_only` just the first token's output is computed."""
    attention, heads = layer.attention.self, layer.attention.self.num_attention_heads
    asking = hidden[:, :1] if first_only else hidden

    def split(x: torch.Tensor) -> torch.Tensor:
        return x.view(x.shape[0], x.shape[1], heads, -1).transpose(1, 2)

    mixed = functional.scaled_dot_product_attention(
        split(attention.query(asking)), split(attention.key(hidden)), split(attention.value(hidden)), attn_mask=mask
    )
    mixed = mixed.transpose(1, 2).reshape(asking.shape)
    asking = layer.attention.output(mixed, asking)
    return layer.output(layer.intermediate(asking), asking)


def logits_of(model: torch.nn.Module, batch: dict[str, torch.Tensor]) -> torch.Tensor:
    """The model's logits, the same as its own forward, with the last layer run on the first token only."""
    hidden = model.bert.embeddings(input_ids=batch["input_ids"], token_type_ids=batch["token_type_ids"])
    mask = None
    if not bool(batch["attention_mask"].all()):
        mask = torch.zeros(batch["attention_mask"].shape).masked_fill(batch["attention_mask"] == 0, -1e4)
        mask = mask[:, None, None, :]
    layers = model.bert.encoder.layer
    for number, layer in enumerate(layers):
        hidden = bert_layer(layer, hidden, mask, first_only=number == len(layers) - 1)
    return model.classifier(model.bert.pooler(hidden)).squeeze(-1)


def score_pairs(model, pairs: list[dict], micro: int) -> torch.Tensor:
    """Logits of all pairs, in their order; gradients flow if they are on."""
    order, parts = [], []
    for rows, batch in by_length(pairs, micro):
        order += rows
        parts.append(logits_of(model, batch))
    return torch.cat(parts)[torch.tensor(order).argsort()]


def distillation_loss(student: torch.Tensor, target: torch.Tensor, centred: float, absolute: float) -> torch.Tensor:
    """KL over each list, plus squared errors of the scores within the list and of the scores themselves."""
    loss = functional.kl_div(student.log_softmax(1), target.log_softmax(1), log_target=True, reduction="batchmean")
    gap = (student - student.mean(1, keepdim=True)) - (target - target.mean(1, keepdim=True))
    return loss + centred * gap.square().mean() + absolute * (student - target).square().mean()


@torch.inference_mode()
def validate(model, tokenizer, rows: list[dict], max_tokens: int, micro: int = 32) -> dict[str, float]:
    """MRR@10 of the labelled passage, and rank correlation and top-5 overlap with the teacher, held out."""
    model.eval()
    pairs = tokenize_pairs(
        tokenizer,
        [r["query"] for r in rows for _ in r["passages"]],
        [p for r in rows for p in r["passages"]],
        max_tokens,
    )
    scores = score_pairs(model, pairs, micro).numpy()
    model.train()
    result, start = defaultdict(list), 0
    for row in rows:
        mine = scores[start : start + len(row["passages"])]
        start += len(row["passages"])
        target = np.array(row["cosine"] if row["source"] == "msmarco_dev_slice" else row["target"])
        ranks = [np.argsort(np.argsort(x)) for x in (mine, target)]
        result[f"rho_{row['source'][:4]}"].append(float(np.corrcoef(*ranks)[0, 1]))
        result[f"top5_{row['source'][:4]}"].append(len(set(mine.argsort()[-5:]) & set(target.argsort()[-5:])) / 5)
        if any(row["label"]):
            for name, values in (("mrr", mine), ("mrr_teacher", target)):
                place = 1 + next(i for i, p in enumerate(np.argsort(-values, kind="stable")) if row["label"][p])
                result[name].append(1 / place if place <= 10 else 0.0)
    return {name: round(float(np.mean(values)), 4) for name, values in result.items()}


def train(args: argparse.Namespace) -> None:
    """Distil into the student; checkpoints in --work/NAME let an interrupted run go on."""
    torch.manual_seed(args.seed)
    tokenizer, model = AutoTokenizer.from_pretrained(args.base), new_student(args.base)
    tokenizer.model_max_length = 512
    rows, valid = (list(read_jsonl(args.work / f"{name}.jsonl")) for name in ("train", "valid"))
    body = list(model.bert.encoder.parameters())
    head = [*model.bert.pooler.parameters(), *model.classifier.parameters()]
    groups = [{"params": body, "lr": args.lr}, {"params": head, "lr": args.head_lr}]
    optimiser = torch.optim.AdamW(groups, weight_decay=0.01, betas=(0.9, 0.99))

    def rate(step: int) -> float:
        return min((step + 1) / args.warmup, max(0.0, (args.steps - step) / (args.steps - args.warmup)))

    schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, rate)
    folder = args.work / args.name
    folder.mkdir(parents=True, exist_ok=True)
    checkpoint, first = folder / "checkpoint.pt", 0
    if checkpoint.exists():
        state = torch.load(checkpoint, weights_only=True)
        model.load_state_dict(state["model"])
        optimiser.load_state_dict(state["optimiser"])
        schedule.load_state_dict(state["schedule"])
        first = state["step"]
        print(f"going on after step {first}")
    model.train()
    seen, running, began = 0, [], time.time()
    last = args.stop_at or args.steps
    for step in range(first, last):
        start = step * args.lists % len(rows)
        lists = (rows + rows[: args.lists])[start : start + args.lists]
        pairs = tokenize_pairs(
            tokenizer,
            [r["query"] for r in lists for _ in r["passages"]],
            [p for r in lists for p in r["passages"]],
            args.max_tokens,
        )
        target = torch.tensor([r["target"] for r in lists])
        student = score_pairs(model, pairs, args.micro).view(target.shape)
        loss = distillation_loss(student, target, args.centred, args.absolute)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(body + head, 1.0)
        optimiser.step()
        schedule.step()
        optimiser.zero_grad()
        seen += len(pairs)
        running.append(loss.item())
        done = step + 1
        if done % 20 == 0:
            print(f"step {done} loss {np.mean(running):.3f} {seen / (time.time() - began):.1f} pairs/s", flush=True)
            running = []
        if done % args.save_every == 0 or done == last:
            state = {
                "model": model.state_dict(),
                "optimiser": optimiser.state_dict(),
                "step": done,
                "schedule": schedule.state_dict(),
            }
            torch.save(state, checkpoint.with_suffix(".part"))
            checkpoint.with_suffix(".part").replace(checkpoint)
        if done % args.validate_every == 0 or done == last:
            print(f"step {done} {validate(model, tokenizer, valid, args.max_tokens)}", flush=True)


# ---------------------------------------------------------------- export, evaluate, speed


def export(args: argparse.Namespace) -> None:
    """Write the last checkpoint as a transformers model folder with half-precision weights."""
    model = new_student(args.base)
    model.load_state_dict(torch.load(args.work / args.name / "checkpoint.pt", weights_only=True)["model"])
    tokenizer = AutoTokenizer.from_pretrained(args.base)
    tokenizer.model_max_length = model.config.max_position_embeddings
    tokenizer.backend_tokenizer.no_truncation()  # the base pads and cuts to 128
    tokenizer.backend_tokenizer.no_padding()
    part = args.out.with_name(args.out.name + ".part")
    shutil.rmtree(part, ignore_errors=True)
    model.half().save_pretrained(part)
    tokenizer.save_pretrained(part)
    drop = {"max_length", "stride", "truncation_strategy", "pad_to_multiple_of", "is_local", "local_files_only"}
    for name in ("config.json", "tokenizer_config.json"):
        content = json.loads((part / name).read_text(encoding="utf-8"))
        content = {key: value for key, value in content.items() if key not in drop | {"_name_or_path"}}
        (part / name).write_text(json.dumps(content, indent=2, sort_keys=True) + "\n", encoding="utf-8")
    args.out.mkdir(parents=True, exist_ok=True)
    for path in part.iterdir():
        path.chmod(0o644)
        path.replace(args.out / path.name)
    part.rmdir()
    print(f"{args.out}: {sum(p.stat().st_size for p in args.out.iterdir()) / 2**20:.2f} MiB")


@torch.inference_mode()
def evaluate(args: argparse.Namespace) -> None:
    """nDCG@10 of a model over the top of a TREC run; ties go to the better first-stage rank."""
    import pytrec_eval

    tokenizer = AutoTokenizer.from_pretrained(args.model)
    kind = AutoModel if args.bi_encoder else AutoModelForSequenceClassification
    model = kind.from_pretrained(args.model, dtype=torch.float32).eval()
    corpus = {r["_id"]: f"{r.get('title') or ''} {r['text']}".strip() for r in read_jsonl(args.beir / "corpus.jsonl")}
    queries = {r["_id"]: r["text"] for r in read_jsonl(args.beir / "queries.jsonl")}
    qrels = read_qrels(args.beir / "qrels" / f"{args.split}.tsv")
    first_stage: dict[str, list[tuple[int, str]]] = defaultdict(list)
    for line in args.run.read_text(encoding="utf-8").splitlines():
        query_id, _, doc_id, rank, *_ = line.split()
        if query_id in qrels:
            first_stage[query_id].append((int(rank), doc_id))
    ranking = {q: [doc for _, doc in sorted(rows)][: args.top] for q, rows in first_stage.items()}
    asked = [(q, doc) for q, docs in ranking.items() for doc in docs]
    texts = [queries[q] for q, _ in asked], [corpus[doc] for _, doc in asked]
    began = time.time()
    if args.bi_encoder:
        vectors = [embed(model, tokenizer, side) for side in texts]
        values = (vectors[0] * vectors[1]).sum(1).tolist()
    else:
        values = score_pairs(model, tokenize_pairs(tokenizer, *texts, args.max_tokens), 32).tolist()
    scores = dict(zip(asked, values, strict=True))
    seconds = time.time() - began

    def ndcg(order: dict[str, list[str]]) -> float:
        run = {q: {doc: float(len(docs) - i) for i, doc in enumerate(docs)} for q, docs in order.items()}
        values = pytrec_eval.RelevanceEvaluator(qrels, {"ndcg_cut.10"}).evaluate(run)
        return math.fsum(v["ndcg_cut_10"] for v in values.values()) / len(qrels)

    reranked = {q: sorted(docs, key=lambda doc, q=q: -scores[q, doc]) for q, docs in ranking.items()}
    print(
        f"{args.beir.name}: {len(ranking)} queries, {len(asked)} pairs, nDCG@10 first stage {ndcg(ranking):.4f}, "
        f"reranked {ndcg(reranked):.4f} ({len(asked) / seconds:.0f} pairs/s)"
    )


@torch.inference_mode()
def speed(args: argparse.Namespace) -> None:
    """Pairs a second through the model's own forward, on random pairs of one length."""
    model = AutoModelForSequenceClassification.from_pretrained(args.model, dtype=torch.float32).eval()
    ids = torch.randint(1000, model.config.vocab_size, (32, args.tokens))
    best = math.inf
    for _ in range(args.repeats):
        began = time.perf_counter()
        model(input_ids=ids, attention_mask=torch.ones_like(ids))
        best = min(best, time.perf_counter() - began)
    print(f"{len(ids) / best:.1f} pairs/s of {args.tokens} tokens with {torch.get_num_threads()} threads")


def main() -> None:
    """Read the command line and run one step."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    steps = parser.add_subparsers(required=True)

    def add(name: str, function) -> argparse.ArgumentParser:
        sub = steps.add_parser(name, help=function.__doc__.splitlines()[0])
        sub.set_defaults(function=function)
        return sub

    sub = add("prepare", prepare)
    sub.add_argument("--data", type=Path, required=True, help="folder with msmarco_dev_slice/ and the rest")
    sub.add_argument("--work", type=Path, required=True)
    sub.add_argument("--base", type=Path, required=True, help="folder of all-MiniLM-L6-v2")
    sub.add_argument("--exclude-queries", type=Path, nargs="*", default=[], help="queries.jsonl of test collections")
    sub.add_argument("--list-size", type=int, default=8)
    sub.add_argument("--max-lists", type=int, help="use only this many of the shuffled training lists")
    sub.add_argument("--headings", type=int, default=2000, help="passage headings to add as queries")
    sub.add_argument("--rounds", default="dl21_dl22=16", help="lists per query, for the sources with more than one")
    sub.add_argument("--seed", type=int, default=13)
    sub = add("train", train)
    sub.add_argument("--work", type=Path, required=True)
    sub.add_argument("--base", type=Path, required=True)
    sub.add_argument("--name", default="student", help="folder under --work for the checkpoints")
    sub.add_argument("--steps", type=int, required=True, help="the rate falls to zero over this many")
    sub.add_argument("--stop-at", type=int, help="end early, to go on later, perhaps with other --steps")
    sub.add_argument("--warmup", type=int, default=40)
    sub.add_argument("--lists", type=int, default=8, help="lists per step")
    sub.add_argument("--micro", type=int, default=16, help="pairs per forward pass")
    sub.add_argument("--lr", type=float, default=3e-4)
    sub.add_argument("--head-lr", type=float, default=1e-3)
    sub.add_argument("--centred", type=float, default=0.05)
    sub.add_argument("--absolute", type=float, default=0.02)
    sub.add_argument("--max-tokens", type=int, default=160)
    sub.add_argument("--save-every", type=int, default=40)
    sub.add_argument("--validate-every", type=int, default=200)
    sub.add_argument("--seed", type=int, default=13)
    sub = add("export", export)
    sub.add_argument("--work", type=Path, required=True)
    sub.add_argument("--base", type=Path, required=True)
    sub.add_argument("--name", default="student")
    sub.add_argument("--out", type=Path, required=True)
    sub = add("evaluate", evaluate)
    sub.add_argument("--model", type=Path, required=True)
    sub.add_argument("--beir", type=Path, required=True)
    sub.add_argument("--run", type=Path, required=True)
    sub.add_argument("--bi-encoder", action="store_true", help="score by cosine of mean-pooled embeddings")
    sub.add_argument("--split", default="test")
    sub.add_argument("--top", type=int, default=100)
    sub.add_argument("--max-tokens", type=int, default=256)
    sub = add("speed", speed)
    sub.add_argument("--model", type=Path, required=True)
    sub.add_argument("--tokens", type=int, default=100)
    sub.add_argument("--repeats", type=int, default=10)
    args = parser.parse_args()
    hf_logging.set_verbosity_error()
    hf_logging.disable_progress_bar()
    args.function(args)


if __name__ == "__main__":
    main()
