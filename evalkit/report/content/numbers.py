"""Numbers as text, the same in every format: figures, changes, intervals, p values, counts and plurals.

A number that is None becomes an empty text.
"""


def number(value: float | None, form: str | None = None) -> str:
    """Return a number in the format `form`, or to three digits without one.

    Args:
        value: the number; None gives an empty text.
        form: a format specification of Python, such as ``.4f``; None for three digits.
    """
    return "" if value is None else amount(value) if form is None else format(value, form)


def amount(value: float) -> str:
    """Return a figure to three digits, from 100 on as a whole number with thousands separators."""
    size = abs(value)
    return format(value, ",.0f" if size >= 99.95 else ".1f" if size >= 9.995 else ".2f" if size >= 0.9995 else ".3g")


def measure_value(value: float | None) -> str:
    """Return the value of a measure, such as nDCG@10, with four decimals."""
    return number(value, ".4f")


def signed(difference: float) -> str:
    """Return a difference with its sign and four decimals; what rounds to 0 has a plus."""
    return f"{difference:+z.4f}"


def interval(low: float | None, high: float | None, missing: str = "") -> str:
    """Return both ends of an interval of a difference, or `missing` where an end is None.

    Args:
        low: lower end; None if it is not known.
        high: upper end; None if it is not known.
        missing: the text for an interval that is not known.
    """
    return missing if low is None or high is None else f"{signed(low)} to {signed(high)}"


def plus_minus(difference: float, low: float | None, high: float | None, decimals: int = 4) -> str:
    """Return a difference and half the width of its interval, or both ends where it is cut at -1 or 1.

    Args:
        difference: the difference, the centre of an interval that is not cut.
        low: lower end of the interval; None if it is not known.
        high: upper end of the interval; None if it is not known.
        decimals: of each number.
    """
    centre = f"{difference:+z.{decimals}f}"
    if low is None or high is None:
        return centre
    if is_cut(low, high):
        return f"{centre} ({low:+z.{decimals}f} to {high:+z.{decimals}f})"
    return f"{centre} \u00b1 {(high - low) / 2:.{decimals}f}"


def is_cut(low: float, high: float) -> bool:
    """Return whether an interval of a difference ends at -1 or 1, and so has not its difference at the centre.

    Args:
        low: lower end, of a difference of two measures in [0, 1].
        high: upper end.
    """
    return low <= -1 or high >= 1


def p_value(p: float | None, missing: str = "") -> str:
    """Return a p value with three decimals, "< 0.001" below that, or `missing` for None.

    Args:
        p: a p value in [0, 1]; None if there is none.
        missing: the text for None.
    """
    return missing if p is None else "< 0.001" if p < 0.001 else f"{p:.3f}"


def percent(share: float | None) -> str:
    """Return a share in [0, 1] as a percentage."""
    return number(share, ".1%")


def count(value: int | None) -> str:
    """Return a count with thousands separators."""
    return number(value, ",")


def counted(value: int, one: str, several: str = "") -> str:
    """Return a count with its noun, such as "1 query" or "1,200 queries".

    Args:
        value: the count.
        one: the noun in the singular.
        several: its plural, if that is not `one` with an s.
    """
    return f"{value:,} {one if value == 1 else several or one + 's'}"


def grade(value: int | None) -> str:
    """Return a passage's grade in words; None is a passage without a judgment."""
    return "unjudged" if value is None else f"grade {value}"


def rank(value: int | None) -> str:
    """Return a rank; None is a passage that was not retrieved."""
    return "not found" if value is None else str(value)
