"""Makes sure that a tokenizer gives the ids of its tokenizer.json, with which the model was trained.

transformers 5 rebuilds the tokenizers of many classes from the vocabulary, with the normalizer and the pre-tokenizer of
the class instead of those in tokenizer.json, which can change the ids.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer
from transformers import PreTrainedTokenizerFast
from transformers.utils import cached_file

from evalkit.boundary.errors import EvalkitError

PROBES = (
    ("what is the capital of France?", "Paris is the capital and largest city of France."),
    ("  Two  spaces,\ttabs and\nlines ", "CAPITALS, don't, e-mail, 3.14, 1,000 and 50 %; http://example.org/a?b=c#d"),
    ("Änderung café naïve İstanbul ﬁne", "Ænglisc œuvre Ω≈ç √∫ ½ ™ — “quotes” … señor, garçon, Straße, cafe\u0301"),
    ("日本の首都はどこですか", "東京は日本の首都である。中国的首都是北京。한국의 수도는 서울이다."),
    ("ما هي عاصمة مصر؟", "القاهرة هي عاصمة مصر. תל אביב. भारत की राजधानी नई दिल्ली है। กรุงเทพมหานคร"),
    ("Столица России", "Москва — столица России. Ποια είναι η πρωτεύουσα; Αθήνα. Thủ đô của Việt Nam là Hà Nội."),
    (
        "emoji 😀👩‍👩‍👧 𝒳 ",
        "zero\u200bwidth, nbsp\u00a0here, soft\u00adhyphen, full ＷＩＤＴＨ, bell\u0007, ▁metaspace Ġbyte ##piece",
    ),
    ("a", "b"),
)
"""Queries and passages on which tokenizers are compared: scripts, case, accents, white space, numbers, and text that
looks like a token."""

_VOCABULARY_SAMPLE = 4000
"""Entries of the vocabulary on which two tokenizers are compared as well if they agree on the probes, but not in all
their components."""


@dataclass(frozen=True)
class TokenizerSource:
    """Which file or class determines a tokenizer's ids."""

    description: str
    """A phrase, for a result."""
    disagreed: bool = False
    """Whether transformers' class gives other ids than tokenizer.json, so that one of them had to be chosen."""


def choose_tokenizer(
    tokenizer: Any, load_path: str, commit: str | None, name: str, setting: str
) -> tuple[Any, TokenizerSource]:
    """Return a tokenizer with the ids of tokenizer.json, and the source of its ids.

    Some settings of tokenizer_config.json override tokenizer.json, since every version of transformers applies them:
    `do_lower_case`, `strip_accents` and `tokenize_chinese_chars` of BERT, and `add_prefix_space` of byte-level BPE.

    Args:
        tokenizer: The tokenizer that transformers loads.
        load_path: A local folder, or a name on the hub.
        commit: The hub's commit; None for a local folder.
        name: The model, as configured.
        setting: The configuration key that names it.

    Raises:
        EvalkitError: no tokenizer with the ids of the file can be built.
    """
    path = cached_file(load_path, "tokenizer.json", revision=commit, _raise_exceptions_for_missing_entries=False)
    if path is None:
        return tokenizer, TokenizerSource(f"no tokenizer.json; built by transformers' {type(tokenizer).__name__}")
    file_tokenizer = _load_file(path)
    if _find_difference(tokenizer, file_tokenizer) is None:
        return tokenizer, TokenizerSource("tokenizer.json")
    class_name = type(tokenizer).__name__
    if applied := _apply_overrides(file_tokenizer, Path(path).parent):
        if _find_difference(tokenizer, file_tokenizer) is None:
            description = f"tokenizer.json, with {', '.join(applied)} of tokenizer_config.json"
            return tokenizer, TokenizerSource(description, disagreed=True)
        file_tokenizer = _load_file(path)
    generic = PreTrainedTokenizerFast.from_pretrained(load_path, revision=commit)
    generic.model_input_names = tokenizer.model_input_names  # the class determines whether the model gets token types
    if text := _find_difference(generic, file_tokenizer):
        raise EvalkitError(
            f"{setting}={name}: tokenizer.json and tokenizer_config.json disagree: {class_name} splits {text[:60]!r} "
            "into other ids than tokenizer.json, and so does any tokenizer that transformers makes of both; correct "
            "tokenizer_config.json, or save the tokenizer again with the transformers that the model was trained with"
        )
    return generic, TokenizerSource(f"tokenizer.json; transformers' {class_name} would give other ids", disagreed=True)


def _load_file(path: str) -> Tokenizer:
    tokenizer = Tokenizer.from_file(path)
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer


def _apply_overrides(tokenizer: Tokenizer, folder: Path) -> list[str]:
    """Apply the settings of tokenizer_config.json that override tokenizer.json; return those that changed something."""
    try:
        stated = json.loads((folder / "tokenizer_config.json").read_text("utf-8"))
    except (OSError, ValueError):
        return []
    if not isinstance(stated, dict):
        return []
    changed = []
    for part, keys in (
        ("normalizer", {"do_lower_case": "lowercase", "strip_accents": "strip_accents",
                        "tokenize_chinese_chars": "handle_chinese_chars"}),
        ("pre_tokenizer", {"add_prefix_space": "add_prefix_space"}),
    ):  # fmt: skip
        module = getattr(tokenizer, part)
        if type(module).__name__ not in ("BertNormalizer", "ByteLevel"):
            continue
        for key, attribute in keys.items():
            if key in stated and hasattr(module, attribute) and getattr(module, attribute) != stated[key]:
                setattr(module, attribute, stated[key])
                changed.append(f"{key}={json.dumps(stated[key])}")
        setattr(tokenizer, part, module)
    return changed


def _find_difference(tokenizer: Any, file_tokenizer: Tokenizer) -> str | None:
    """Return a text for which the two give different ids, or None if none is found."""
    for query, passage in PROBES:
        for texts in ((query, passage), (passage,)):
            if list(tokenizer(*texts)["input_ids"]) != file_tokenizer.encode(*texts).ids:
                return " | ".join(texts)
    backend = tokenizer.backend_tokenizer
    parts = ("normalizer", "pre_tokenizer", "post_processor")
    if all(_state(getattr(backend, part)) == _state(getattr(file_tokenizer, part)) for part in parts):
        return None
    for text in _vocabulary_texts(file_tokenizer):
        if list(tokenizer(text)["input_ids"]) != file_tokenizer.encode(text).ids:
            return text
    return None


def _state(part: Any) -> bytes | None:
    state: bytes | None = None if part is None else part.__getstate__()
    return state


def _vocabulary_texts(tokenizer: Tokenizer) -> Iterator[str]:
    """Yield texts of 20 words each, evenly sampled from the vocabulary."""
    words = sorted(tokenizer.get_vocab())
    sample = words[:: max(len(words) // _VOCABULARY_SAMPLE, 1)]
    for start in range(0, len(sample), 20):
        yield " ".join(sample[start : start + 20])
