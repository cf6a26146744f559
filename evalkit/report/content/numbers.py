"""Numbers as texts: changes, figures, p values; the same in every format."""


def around(delta: float, low: float | None, high: float | None) -> str:
    """Return a change with half its interval, where there is one."""
    return f"{delta:+.4f}" + ("" if low is None or high is None else f" \u00b1 {(high - low) / 2:.4f}")


def number(value: float | None, form: str | None = None) -> str:
    """Return a number in a form, or with three digits where none is given, or nothing where there is no number."""
    return "" if value is None else amount(value) if form is None else format(value, form)


def amount(value: float) -> str:
    """Return a figure with three digits, whole from 100 on and thousands apart."""
    size = abs(value)
    return format(value, ",.0f" if size >= 99.95 else ".1f" if size >= 9.995 else ".2f" if size >= 0.9995 else ".3g")


def p_value(p: float | None) -> str:
    """Return a p value as it is read: three digits, and no false zero."""
    if p is None:
        return "-"
    return "< 0.001" if p < 0.001 else f"{p:.3f}"
