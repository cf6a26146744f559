"""Measures as values, and their names: the notation of ir_measures, and the spellings of trec_eval and ranx."""

import re
from dataclasses import dataclass, replace

from evalkit.boundary.errors import EvalkitError, nearest

WHOLE_LIST = 1000
"""The cutoff of a name without one where trec_eval has none: the most passages of a query that a TREC run has."""

KINDS = ("nDCG", "RR", "AP", "R", "P", "Success", "RBP", "bpref", "Judged")
"""The kinds of measures, as they are printed."""

_OTHER_SPELLINGS = {
    "ndcg_cut": "nDCG",
    "mrr": "RR",
    "recip_rank": "RR",
    "map": "AP",
    "map_cut": "AP",
    "recall": "R",
    "precision": "P",
    "hit_rate": "Success",
}
"""Names of trec_eval, ranx and ir_measures in lower case -> ours."""

_BY_NAME = {kind.lower(): kind for kind in KINDS} | _OTHER_SPELLINGS

_WITHOUT_CUTOFF = ("RR", "AP", "bpref", "RBP")
"""Kinds whose name without a cutoff means the whole list; nDCG and the others have to state one."""

_NEVER_CONDENSED = ("bpref", "Judged")

_SYNTAX = re.compile(
    r"(?P<kind>[a-z_]*?[a-z])"
    r"(\((?P<settings>[^()]*)\))?"
    r"((?P<separator>@|_at_|_|\.)(?P<cutoff>\d{1,9}|depth))?"
    r"(-l(?P<rel>\d{1,9}))?",
    re.ASCII | re.IGNORECASE,
)


@dataclass(frozen=True)
class Measure:
    """What is measured, independent of the library that computes it; ``str`` gives the notation of ir_measures."""

    kind: str
    """One of `KINDS`."""
    cutoff: int
    """The number of top passages that count, the k of @k."""
    relevance_level: int | None = None
    """The lowest grade counted as relevant where the name states one, as in ``RR(rel=2)@10``."""
    persistence: float | None = None
    """RBP's p, the probability that a reader goes on to the next passage; None for other kinds."""
    judged_only: bool = False
    """Whether unjudged passages are removed from the ranking before the cutoff, as in ``nDCG(judged_only=True)@10``."""

    def __str__(self) -> str:
        settings = [] if self.persistence is None else [f"p={self.persistence:g}"]
        settings += [] if self.relevance_level is None else [f"rel={self.relevance_level}"]
        settings += ["judged_only=True"] if self.judged_only else []
        inside = f"({','.join(settings)})" if settings else ""
        return f"{self.kind}{inside}@{self.cutoff}"


def parse(name: str, depth: int) -> Measure:
    """Parse the name of a measure, in any case.

    Besides ours, as in ``nDCG@10``, ``RR(rel=2)@10``, ``R@depth``, ``RBP(p=0.8)@10`` or
    ``nDCG(judged_only=True)@10``, the spellings of trec_eval (``ndcg_cut_10``, ``ndcg_cut.10``, ``P_10``,
    ``recip_rank``), of ranx (``mrr@10``, ``recall@100-l2``, ``hit_rate@5``, ``rbp.80``) and of MTEB (``ndcg_at_10``)
    are understood. RR, AP, bpref and RBP without a cutoff look at the first 1,000 passages.

    Args:
        name: as above.
        depth: the cutoff that ``@depth`` stands for.

    Returns:
        The measure, which prints as its canonical name.

    Raises:
        EvalkitError: no such measure or setting, a cutoff is missing or zero, or a relevance level is zero.
    """
    name = str(name)
    match = _SYNTAX.fullmatch(name)
    kind = _BY_NAME.get(match["kind"].lower()) if match else None
    if match is None or kind is None:
        raise _unknown(name)
    settings = _settings(name, match["settings"])
    cutoff = match["cutoff"]
    if kind == "RBP" and match["separator"] == "." and cutoff.lower() != "depth":
        settings, cutoff = {"p": f"0.{cutoff}", **settings}, None  # ranx's rbp.80
    if match["rel"]:
        settings["rel"] = match["rel"]
    return Measure(
        kind,
        _cutoff(name, kind, cutoff, depth),
        _relevance_level(name, kind, settings.get("rel")),
        _persistence(name, kind, settings.get("p")),
        _judged_only(name, kind, settings.get("judged_only")),
    )


def without_unjudged(measure: Measure) -> Measure | None:
    """Return a measure over the ranking without unjudged passages (condensed list).

    Source: Sakai 2007, Alternatives to bpref.

    Args:
        measure: any measure.

    Returns:
        The measure of the condensed list; None for bpref, which ignores unjudged passages, and for Judged.
    """
    return None if measure.kind in _NEVER_CONDENSED else replace(measure, judged_only=True)


def _unknown(name: str) -> EvalkitError:
    shown = name[:40]
    close = nearest(shown, [f"{kind}@10" for kind in KINDS])
    return EvalkitError(
        f"unknown measure {shown!r}{close if close.endswith('?') else ''} (known: {', '.join(KINDS)}, each with a "
        "cutoff as in nDCG@10, also as trec_eval, ranx and ir_measures spell them)"
    )


def _settings(name: str, text: str | None) -> dict[str, str]:
    """Return the settings in the parentheses of a name."""
    found: dict[str, str] = {}
    for part in [] if text is None else text.split(","):
        key, equals, value = (one.strip() for one in part.partition("="))
        key = key.lower()
        if not equals or key not in ("rel", "p", "judged_only") or key in found:
            raise EvalkitError(
                f"measure {name[:60]!r}: {part.strip()[:40]!r} is none of its settings; there are rel=2 (lowest "
                "relevant grade), p=0.8 (of RBP) and judged_only=True, each at most once"
            )
        found[key] = value
    return found


def _cutoff(name: str, kind: str, text: str | None, depth: int) -> int:
    if text is None and kind in _WITHOUT_CUTOFF:
        return WHOLE_LIST
    cutoff = depth if (text or "").lower() == "depth" else int(text or 0)
    if cutoff < 1:
        raise EvalkitError(f"measure {name!r} needs a cutoff of at least 1, as in {kind}@10")
    return cutoff


def _relevance_level(name: str, kind: str, text: str | None) -> int | None:
    if text is None:
        return None
    if kind == "nDCG":
        raise EvalkitError(f"{name!r}: nDCG uses the grades themselves as gains and takes no relevance level")
    if kind == "Judged":
        raise EvalkitError(f"{name!r}: Judged counts judgments of any grade and takes no relevance level")
    if not re.fullmatch(r"\d{1,9}", text, re.ASCII) or int(text) < 1:
        raise EvalkitError(f"{name!r}: a relevance level is 1 or more; grade 0 means 'not relevant'")
    return int(text)


def _persistence(name: str, kind: str, text: str | None) -> float | None:
    if kind != "RBP":
        if text is not None:
            raise EvalkitError(f"{name!r}: only RBP has a persistence p")
        return None
    text = "0.8" if text is None else text
    if not re.fullmatch(r"0?\.\d{1,6}", text, re.ASCII) or float(text) == 0:
        raise EvalkitError(f"{name!r}: the persistence p of RBP is above 0 and below 1, as in RBP(p=0.8)@10")
    return float(text)


def _judged_only(name: str, kind: str, text: str | None) -> bool:
    if text is None or text.lower() == "false":
        return False
    if text.lower() != "true":
        raise EvalkitError(f"{name!r}: judged_only is True or False")
    if kind in _NEVER_CONDENSED:
        raise EvalkitError(
            f"{name!r}: {kind} cannot be judged_only; bpref ignores unjudged passages, Judged counts them"
        )
    return True
