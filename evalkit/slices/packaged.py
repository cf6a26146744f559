"""The dev collection that comes with evalkit: small, graded, for regression checks and not for a leaderboard."""

from pathlib import Path

from evalkit.boundary import languages
from evalkit.errors import EvalkitError
from evalkit.slices import beir
from evalkit.types import Slice

DEV = Path(__file__).parent / "dev"


def load(lang: str = "en", queries: int | None = None, seed: int = 0) -> Slice:
    """Load the dev collection of one language.

    Raises:
        EvalkitError: there is none in that language.
    """
    code = languages.canonical(lang)
    langs = sorted(path.name for path in DEV.iterdir() if (path / "corpus.jsonl").exists())
    if code not in langs:
        raise EvalkitError(
            f"slice.lang={lang}: the packaged dev collection has no such language; there is {', '.join(langs)}"
        )
    return beir.load(
        str(DEV / code), split="dev", lang=lang, queries=queries, seed=seed, relevance_level=2, name=f"dev/{code}"
    )
