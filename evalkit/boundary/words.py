"""Splits a text of any script into words, in the same way for BM25 and for query classes."""

import re
import unicodedata

import regex

# Marks belong to their word: without them a Hindi, Bengali or Telugu word breaks at each vowel sign, and a Yoruba
# one at each tone. The joiners U+200C and U+200D stand inside Persian and Indic words.
_WORD = regex.compile(r"[\p{L}\p{N}\p{M}][\p{L}\p{N}\p{M}\u200c\u200d]*")
_ASCII_WORD = re.compile(r"[a-z0-9]+")
BIGRAM_LANGS = ("ja", "km", "ko", "lo", "my", "th", "zh")


def words(text: str) -> list[str]:
    """Return the lower-cased words of `text`: runs of letters, digits and combining marks."""
    if text.isascii():  # the same words, one third faster
        return _ASCII_WORD.findall(text.lower())
    return list(_WORD.findall(unicodedata.normalize("NFC", text).lower()))
