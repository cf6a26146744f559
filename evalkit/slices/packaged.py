"""The dev collection that comes with evalkit: small and graded, for regression checks, not for leaderboards."""

from pathlib import Path

from evalkit.boundary import languages
from evalkit.boundary.errors import EvalkitError
from evalkit.slices import beir
from evalkit.types import Slice

DEV = Path(__file__).parent / "dev"


def load(lang: str = "en", queries: int | None = None, seed: int = 0) -> Slice:
    """Load the packaged dev collection of one language.

    Args:
        lang: language code.
        queries: size of a seeded sample of the queries; None for all.
        seed: of the sample.

    Raises:
        EvalkitError: there is no dev collection in that language.
    """
    code = languages.canonical(lang)
    langs = sorted(path.name for path in DEV.iterdir() if (path / "corpus.jsonl").exists())
    if code not in langs:
        raise EvalkitError(
            f"slice.lang={lang}: the packaged dev collection has no such language; choose from {', '.join(langs)}"
        )
    return beir.load(
        str(DEV / code), split="dev", lang=lang, queries=queries, seed=seed, relevance_level=2, name=f"dev/{code}"
    )
