"""HTML that is safe by construction: every text is escaped on its way in, and the page may load nothing."""

import base64
import hashlib
import html
import re
from functools import cache
from pathlib import Path

Attribute = str | int | bool | None


class Markup(str):
    """Text that is HTML already; any other string is escaped by `tag` and `join`."""

    __slots__ = ()


def tag(element: str, /, *children: str | None, **attributes: Attribute) -> Markup:
    """Return an element with its children in order.

    Args:
        element: name of the element.
        *children: texts, which are escaped, and `Markup`; None is left out.
        **attributes: name -> value, ``class_`` for class and ``data_column`` for data-column; True gives the name
            alone, None and False are left out.
    """
    written = "".join(
        f" {key.rstrip('_').replace('_', '-')}" + ("" if value is True else f'="{_escaped(str(value))}"')
        for key, value in attributes.items()
        if value is not None and value is not False
    )
    if element in _VOID:
        return Markup(f"<{element}{written}>")
    return Markup(f"<{element}{written}>{join(*children)}</{element}>")


def join(*children: str | None) -> Markup:
    """Return the children one after the other, escaped where they are plain text."""
    return Markup("".join(c if isinstance(c, Markup) else _escaped(c) for c in children if c is not None))


def picture(title: str, svg: str, note: str = "") -> Markup:
    """Return a figure with its caption; as an image an SVG can neither run anything nor load anything.

    Args:
        title: the text for readers who do not see the picture.
        svg: content of an SVG file.
        note: the caption, which states how the picture is read; the title if it is empty.
    """
    data = base64.b64encode(svg.encode("utf-8", "replace")).decode("ascii")
    image = tag("img", src=f"data:image/svg+xml;base64,{data}", alt=title)
    return tag("figure", image, tag("figcaption", note or title))


def language_tag(value: object) -> str | None:
    """Return a language's tag for the attribute ``lang``, or None where it has another form than BCP 47's."""
    return value if isinstance(value, str) and re.fullmatch(r"[A-Za-z]{2,3}(-[A-Za-z0-9]{1,8})*", value) else None


def document(title: str, *body: str | None) -> str:
    """Return the whole page; its policy lets the browser use the style, the script and pictures in it, nothing else.

    Args:
        title: title of the page.
        *body: texts, which are escaped, and `Markup`; None is left out.
    """
    style, script = (_part(name) for name in ("page.css", "page.js"))
    policy = (
        f"default-src 'none'; img-src data:; style-src '{_hash(style)}'; script-src '{_hash(script)}'; "
        "base-uri 'none'; form-action 'none'"
    )
    head = tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("meta", http_equiv="Content-Security-Policy", content=policy),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("meta", name="color-scheme", content="light dark"),
        tag("meta", name="referrer", content="no-referrer"),
        tag("link", rel="icon", href="data:,"),
        tag("title", title),
        tag("style", Markup(style)),
    )
    return f"<!DOCTYPE html>\n{tag('html', head, tag('body', *body, tag('script', Markup(script))), lang='en')}\n"


def _escaped(text: str) -> str:
    return html.escape(_UNPRINTABLE.sub("\ufffd", text))


def _hash(part: str) -> str:
    return f"sha256-{base64.b64encode(hashlib.sha256(part.encode()).digest()).decode('ascii')}"


@cache
def _part(name: str) -> str:
    return (Path(__file__).parent / name).read_text("utf-8")


_VOID = frozenset({"br", "img", "input", "link", "meta"})
_UNPRINTABLE = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff]")
"""What HTML or UTF-8 does not allow: control characters but tab and line ends, and halves of a character."""
