"""Classes of queries: by length, and by question word."""

import unicodedata
from functools import cache
from typing import Any

import regex

from evalkit.boundary.words import BIGRAM_LANGS, words

LENGTHS = {"words": (3, 6, 9), "characters": (10, 15, 25)}
"""The longest query of each class but the last, which is unbounded."""

QUESTION_WORDS = {
    "ar": {
        "how_many": r"(?<!\d ?)كم|بكم", "how": "كيف|[إا]زاي", "when": "مت[ىي]", "where": "[أا]ين",
        "why": "لماذا|ليش|ليه", "which": "[أا]ي|أى|[أا]ية", "who": "^من|من ه[وي]|لمن",
        "what": "^ما|ماهو|ماه[يى]|ب?ماذا|مم|إيه",
    },
    "de": {
        "how_many": "wie ?viele?n?", "how": "wie", "when": "wann", "where": "wo|woher|wohin",
        "why": "warum|weshalb|wieso|wozu", "which": "welche?[rsnm]?", "who": "we[rnm]|wessen",
        "what": "was|wo(?:mit|für|durch|raus|rin|von|rauf|rüber|ran)",
    },
    "en": {
        "how_many": "how (?:many|much)", "how": "how", "when": "^when|when (?:is|are|was|were|do|does|did|will|can)",
        "where": "^where|where (?:is|are|was|were|do|does|did|will|can)", "why": "why", "which": "which",
        "who": "^who(?:m|se)?", "what": "whats?",
    },
    "es": {
        "how_many": "cuánt[oa]s?", "how": "cómo", "when": "cuándo", "where": "a?dónde", "why": "por qué",
        "which": "cuál(?:es)?", "who": "quién(?:es)?", "what": "qué",
    },
    "hi": {
        "how_many": "कितन[ाेी]", "how": "कैस[ाेी]", "when": "कब", "where": "कहा[ँं]", "why": "क्यों",
        "which": "कौन ?स[ाीे]|किस", "who": "कौन|किस(?:ने|े|को|से|का|के|की)|किन(?:का|के|की|को|से)?|किन्होंने",
        "what": "(?<= )क्या",
    },
    "ja": {
        "how_many": "いくつ|いくら|何[人個回本歳枚冊台匹]|ど[のれ][くぐ]らい|どれほど",
        "how": "どう(?:やって|すれ|した|な[るっ])|どのよう", "when": "いつ(?!も)|何時", "where": "どこ|何処",
        "why": "なぜ|何故|どうして|なんで", "which": "どの|どれ|どちら|どっち", "who": "誰|だれ|どなた",
        "what": "何|なに|どういう|どんな",
    },
    "ru": {
        "how_many": "сколько|скольк[иу]х?", "how": "как", "when": "когда", "where": "где|куда|откуда",
        "why": "почему|зачем|отчего", "which": "как(?:ой|ая|ое|ие|ого|ому|им|ом|их|ими|ую)|каков[аоы]?",
        "who": "кто|кого|кому|к[ео]м", "what": "что|чего|чему|ч[её]м",
    },
    "sw": {
        "how_many": "(?:wa|ma|mi|vi)?ngapi", "how": "vipi|(?:jinsi|namna) gani", "when": "lini", "where": "wapi",
        "why": "kwa ?nini|mbona", "which": "gani|(?:[lkz]?i|y?u|ya)pi", "who": "nani", "what": "nini",
    },
    "zh": {
        "how_many": "多少|[几幾](?=[个個位名种種次年岁歲天月号號点點座条條只隻人任部届屆])",
        "how": "怎[么麼样樣]|如何|多[大长長远遠高久]", "when": "什[么麼][时時]|何[时時]",
        "where": "哪[里裡裏儿兒]|何[处處地]|什[么麼]地方", "why": "[为為](?:什[么麼]|何)", "which": "哪",
        "who": "[谁誰]", "what": "什[么麼]",
    },
}  # fmt: skip
"""language -> question word in English -> regular expression over lower-case text. Of words that begin at the same
position, the one listed first counts. Words with another frequent meaning ("من" is "from" as well as "who") count only
in positions where that meaning is unlikely."""


def query_length(text: str, lang: str) -> str:
    """Return the length class of a query: in words, or in characters for the languages of `BIGRAM_LANGS`.

    Args:
        text: the query.
        lang: code of its language.

    Returns:
        One of `length_labels`.
    """
    length = len(words(text))
    if lang in BIGRAM_LANGS:
        # A grapheme cluster is one character: Thai vowel and tone signs belong to their consonant.
        length = sum(len(regex.findall(r"\X", word)) for word in words(text))
    return length_labels(lang)[sum(length > limit for limit in LENGTHS[_unit(lang)])]


def length_labels(lang: str) -> list[str]:
    """Return the classes of `query_length`, shortest first."""
    unit, (short, middle, long) = _unit(lang), LENGTHS[_unit(lang)]
    return [
        f"up to {short} {unit}", f"{short + 1} to {middle} {unit}", f"{middle + 1} to {long} {unit}",
        f"more than {long} {unit}",
    ]  # fmt: skip


def _unit(lang: str) -> str:
    return "characters" if lang in BIGRAM_LANGS else "words"


def question_word(text: str, lang: str) -> str:
    """Return the first question word of a query, translated to English, such as "who" or "how many".

    Args:
        text: the query.
        lang: code of its language.

    Returns:
        The question word; "none" if there is none, or if the language is not in `QUESTION_WORDS`.
    """
    if lang not in QUESTION_WORDS:
        return "none"
    plain = unicodedata.normalize("NFC", " ".join(text.lower().split()))
    match = _question(lang).search(regex.sub(r"^\P{L}+", "", plain))
    return str(match.lastgroup).replace("_", " ") if match else "none"


@cache
def _question(lang: str) -> Any:
    kinds = "|".join(f"(?P<{kind}>{forms})" for kind, forms in QUESTION_WORDS[lang].items())
    if lang not in BIGRAM_LANGS:
        kinds = rf"(?<![\p{{L}}\p{{M}}\p{{N}}])(?:{kinds})(?![\p{{L}}\p{{M}}\p{{N}}])"
    return regex.compile(unicodedata.normalize("NFC", kinds))
