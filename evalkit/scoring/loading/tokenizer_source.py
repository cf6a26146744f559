"""Which tokenizer is a model's own: its tokenizer.json, whatever class transformers would build in its place.

transformers 5 builds the tokenizers of many classes anew from the vocabulary, with the normalizer and the splitting of
the class, and ignores what tokenizer.json states; the ids can then be others than those that the model was trained on.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer
from transformers import PreTrainedTokenizerFast
from transformers.utils import cached_file

from evalkit.errors import EvalkitError

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
"""Queries and passages on which tokenizers are compared: scripts, case, accents, white space, numbers, what looks like
a token."""

_TOKENS = 4000
"""Entries of the vocabulary that are compared too where the parts of two tokenizers differ and the probes do not."""


@dataclass(frozen=True)
class Source:
    """Where a tokenizer's ids come from."""

    says: str
    """In words, for a result."""
    disagreed: bool = False
    """Whether transformers' own class gives other ids than tokenizer.json, so that one of them had to be chosen."""


def settled(tokenizer: Any, location: str, commit: str | None, name: str, setting: str) -> tuple[Any, Source]:
    """Return the tokenizer whose ids are the model's, and where they come from. `location` is a folder or a hub id.

    tokenizer.json decides. Two settings of tokenizer_config.json stand above it, since transformers has always applied
    them to the file's tokenizer: BERT's `do_lower_case`, `strip_accents` and `tokenize_chinese_chars`, and
    `add_prefix_space` of byte-level BPE.

    Raises:
        EvalkitError: no tokenizer with the file's ids can be built.
    """
    path = cached_file(location, "tokenizer.json", revision=commit, _raise_exceptions_for_missing_entries=False)
    if path is None:
        return tokenizer, Source(f"no tokenizer.json; built by transformers' {type(tokenizer).__name__}")
    file = Tokenizer.from_file(path)
    file.no_truncation()
    file.no_padding()
    if _differing(tokenizer, file) is None:
        return tokenizer, Source("tokenizer.json")
    own_class = type(tokenizer).__name__
    if applied := _apply_settings(file, _stated(Path(path).parent)):
        if _differing(tokenizer, file) is None:
            return tokenizer, Source(f"tokenizer.json, with {', '.join(applied)} of tokenizer_config.json", True)
        file = Tokenizer.from_file(path)
        file.no_truncation()
        file.no_padding()
    direct = PreTrainedTokenizerFast.from_pretrained(location, revision=commit)
    direct.model_input_names = tokenizer.model_input_names  # whether the model gets token types is the class's to say
    if probe := _differing(direct, file):
        raise EvalkitError(
            f"{setting}={name}: tokenizer.json and tokenizer_config.json disagree: {own_class} splits {probe[:60]!r} "
            f"into other ids than tokenizer.json, and so does any tokenizer that transformers makes of both; mend "
            "tokenizer_config.json, or save the tokenizer anew with the transformers that the model was trained with"
        )
    return direct, Source(f"tokenizer.json; transformers' {own_class} would give other ids", True)


def _stated(folder: Path) -> dict[str, Any]:
    try:
        found = json.loads((folder / "tokenizer_config.json").read_text("utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _apply_settings(file: Tokenizer, stated: dict[str, Any]) -> list[str]:
    """Apply the settings that stand above tokenizer.json to it, and return those that changed it."""
    changed = []
    for part, keys in (
        ("normalizer", {"do_lower_case": "lowercase", "strip_accents": "strip_accents",
                        "tokenize_chinese_chars": "handle_chinese_chars"}),
        ("pre_tokenizer", {"add_prefix_space": "add_prefix_space"}),
    ):  # fmt: skip
        module = getattr(file, part)
        if type(module).__name__ not in ("BertNormalizer", "ByteLevel"):
            continue
        for key, attribute in keys.items():
            if key in stated and hasattr(module, attribute) and getattr(module, attribute) != stated[key]:
                setattr(module, attribute, stated[key])
                changed.append(f"{key}={json.dumps(stated[key])}")
        setattr(file, part, module)
    return changed


def _differing(tokenizer: Any, file: Tokenizer) -> str | None:
    """Return a text that the two split into other ids, None where there is none to be found."""
    for query, passage in PROBES:
        for texts in ((query, passage), (passage,)):
            if list(tokenizer(*texts)["input_ids"]) != file.encode(*texts).ids:
                return " | ".join(texts)
    backend = tokenizer.backend_tokenizer
    parts = ("normalizer", "pre_tokenizer", "post_processor")
    if all(_state(getattr(backend, part)) == _state(getattr(file, part)) for part in parts):
        return None
    return next(
        (text for text in _vocabulary(file) if list(tokenizer(text)["input_ids"]) != file.encode(text).ids), None
    )


def _state(part: Any) -> bytes | None:
    state: bytes | None = None if part is None else part.__getstate__()
    return state


def _vocabulary(file: Tokenizer) -> Iterator[str]:
    words = sorted(file.get_vocab())
    chosen = words[:: max(len(words) // _TOKENS, 1)]
    for start in range(0, len(chosen), 20):
        yield " ".join(chosen[start : start + 20])
