"""Text analysis for BM25: the tokens of a text, by language.

"words" removes stopwords and stems, where the language has a list and a stemmer; "folded" also removes accents and tone
marks; "bigrams" are overlapping pairs of characters, for scripts without spaces between words (and for Korean,
whose particles are attached to words), as in Lucene's CJKAnalyzer; "whitespace" only splits at white space. "auto"
selects by language and refuses an unknown language code; the other kinds accept it.
"""

import unicodedata
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise

import regex

from evalkit.boundary import languages
from evalkit.boundary.errors import EvalkitError
from evalkit.boundary.words import BIGRAM_LANGS, words
from evalkit.types import Settings

_SCRIPTS = r"\p{Han}\p{Hiragana}\p{Katakana}\p{Hangul}\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}"
_UNSPACED = regex.compile(rf"[{_SCRIPTS}\u30fc]+|[[\p{{L}}\p{{N}}\p{{M}}]--[{_SCRIPTS}]]+", regex.V1)
_IS_UNSPACED = regex.compile(rf"[{_SCRIPTS}]", regex.V1)
_MARKS = regex.compile(r"\p{M}+")
_THAI_LETTER = regex.compile(r"\X")

KINDS = ("auto", "words", "folded", "bigrams", "whitespace")


WHITESPACE_LANGS = ("sw", "yo")
"""Languages without an analyzer in Lucene: the published MIRACL baselines (Pyserini) split them at white space, and so
does "auto". "words" and "folded" give a stronger first stage."""
STEMMERS = {
    "ar": "arabic", "ca": "catalan", "da": "danish", "de": "german", "el": "greek", "en": "english",
    "es": "spanish", "eu": "basque", "fi": "finnish", "fr": "french", "ga": "irish", "hi": "hindi",
    "hu": "hungarian", "hy": "armenian", "id": "indonesian", "it": "italian", "lt": "lithuanian", "ne": "nepali",
    "nl": "dutch", "no": "norwegian", "pt": "portuguese", "ro": "romanian", "ru": "russian", "sr": "serbian",
    "sv": "swedish", "ta": "tamil", "tr": "turkish", "yi": "yiddish",
}  # fmt: skip
STOPWORDS = {
    "de": "GERMAN", "en": "EN", "es": "SPANISH", "fr": "FRENCH", "it": "ITALIAN", "nl": "DUTCH",
    "no": "NORWEGIAN", "pt": "PORTUGUESE", "ru": "RUSSIAN", "sv": "SWEDISH", "tr": "TURKISH",
}  # fmt: skip
"""bm25s's lists; its English one is Lucene's 33 words."""


@dataclass(frozen=True)
class Analysis:
    """A mapping from a text to its tokens."""

    split: Callable[[str], list[str]]
    """The pieces of a text."""
    token: Callable[[str], str | None]
    """The token of a piece, such as its stem; None for a stopword. It depends on the piece alone."""
    facts: Settings
    """Kind, language, stopwords and stemmer, for the result."""

    def tokens(self, text: str) -> list[str]:
        """Return the tokens of `text`."""
        return [token for piece in self.split(text) if (token := self.token(piece)) is not None]


def select_analysis(kind: str, lang: str) -> Analysis:
    """Return the text analysis of a language.

    Args:
        kind: one of `KINDS`; "auto" is "bigrams", "whitespace" or "words", by language.
        lang: language code.

    Raises:
        EvalkitError: `kind` is not valid, `lang` is not a language code, or "auto" does not know the language.
    """
    if kind not in KINDS:
        raise EvalkitError(f"first_stage.analysis={kind!r}: choose from {', '.join(KINDS)}")
    if not (lang.isascii() and lang.isalpha() and lang.islower() and len(lang) in (2, 3)):
        raise EvalkitError(f"slice.lang={lang!r} is not an ISO 639-1 code such as en, zh or sw")
    lang = languages.canonical(lang)
    if kind == "auto":
        if not languages.has_two_letter_code(lang):
            raise EvalkitError(
                f"slice.lang={lang}: this is not the code of a language in ISO 639-1, so first_stage.analysis=auto "
                "cannot choose; set first_stage.analysis to words (splits at all but letters and digits), folded, "
                "whitespace, or bigrams (for scripts without spaces)"
            )
        kind = "bigrams" if lang in BIGRAM_LANGS else "whitespace" if lang in WHITESPACE_LANGS else "words"
    facts = {"kind": kind, "lang": lang, "stopwords": None, "stemmer": None}
    if kind == "bigrams":
        return Analysis(bigrams, str, facts)
    if kind == "whitespace":
        return Analysis(str.split, str, facts)
    stop, stem = _stopwords(lang), _stemmer(lang)

    def folded_words(text: str) -> list[str]:
        return words(fold_marks(text))

    def token(word: str) -> str | None:
        return None if word in stop else stem(word)

    if stop:
        facts["stopwords"] = f"{len(stop)} (bm25s {STOPWORDS[lang]})"
    if lang in STEMMERS:
        facts["stemmer"] = f"Snowball {STEMMERS[lang]}"
    return Analysis(folded_words if kind == "folded" else words, token, facts)


def fold_marks(text: str) -> str:
    """Return `text` without combining marks: accents, tones, vowel signs."""
    return str(_MARKS.sub("", unicodedata.normalize("NFD", text)))


def bigrams(text: str) -> list[str]:
    """Return overlapping pairs of characters in runs of unspaced scripts, and complete words of other scripts."""
    folded_width = unicodedata.normalize("NFKC", text).lower()  # unifies half-width katakana and decomposed kana
    return [token for run in _UNSPACED.findall(folded_width) for token in _pieces(run)]


def _pieces(run: str) -> Iterator[str]:
    if not _IS_UNSPACED.match(run):
        yield run
        return
    letters = _THAI_LETTER.findall(run)  # a Thai consonant with its vowel and tone signs is one character
    if len(letters) == 1:
        yield letters[0]
    for left, right in pairwise(letters):
        yield left + right


def _stopwords(lang: str) -> frozenset[str]:
    if lang not in STOPWORDS:
        return frozenset()
    import bm25s.stopwords

    return frozenset(getattr(bm25s.stopwords, f"STOPWORDS_{STOPWORDS[lang]}"))


def _stemmer(lang: str) -> Callable[[str], str]:
    if lang not in STEMMERS:
        return str
    import Stemmer

    stem: Callable[[str], str] = Stemmer.Stemmer(STEMMERS[lang]).stemWord
    return stem
