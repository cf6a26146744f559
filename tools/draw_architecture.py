"""Draw docs/architecture.svg, the folders of evalkit/ in layers with their imports, and write the tables of its page.

Imports, docstrings and classes are read from the source by ast:

python tools/draw_architecture.py
"""

import ast
import textwrap
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from html import escape
from itertools import pairwise
from pathlib import Path

PACKAGE = Path(__file__).parents[1] / "evalkit"
PICTURE = PACKAGE.parent / "docs" / "architecture.svg"
PAGE = PICTURE.with_suffix(".md")

_BOX_WIDTH, _LANE_WIDTH, _GAP, _ROW_GAP, _MARGIN = 252, 26, 26, 52, 20
_NAME_PX, _TEXT_PX, _LINE_PX = 15, 12, 15
_CHARACTERS = 40
"""Of a line in a box: Helvetica at `_TEXT_PX` takes about 5.8 pixels a character."""


@dataclass(frozen=True)
class Part:
    """What lies directly below evalkit/: a folder with its subfolders, or a module."""

    name: str
    sentence: str
    folders: tuple[str, ...]

    @property
    def lines(self) -> list[str]:
        """The text below the name."""
        within = f"Within it: {', '.join(f'{folder}/' for folder in self.folders)}" if self.folders else ""
        return [*textwrap.wrap(self.sentence, _CHARACTERS), *([within] if within else [])]

    @property
    def height(self) -> int:
        """Of its box, in pixels."""
        return 38 + _LINE_PX * len(self.lines)


def parts() -> dict[str, Part]:
    """Return the parts of the package by name; those without a docstring, such as conf/, are none."""
    found = {}
    for path in sorted(PACKAGE.iterdir()):
        module = path / "__init__.py" if path.is_dir() else path
        if module.suffix != ".py" or not module.exists() or path.name == "__init__.py":
            continue
        folders = tuple(sorted(inner.parent.name for inner in path.glob("*/__init__.py")))
        name = f"{path.name}/" if path.is_dir() else path.name
        found[path.stem] = Part(name, (ast.get_docstring(_tree(module)) or "").split("\n\n")[0], folders)
    return found


def imports() -> dict[str, set[str]]:
    """Return for each part the other parts that its files import, inside of functions and for typing too."""
    known: dict[str, set[str]] = {name: set() for name in parts()}
    for path in sorted(PACKAGE.rglob("*.py")):
        part = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
        if part in known:
            known[part] |= set(_imported(path)) & known.keys() - {part}
    return known


def direct(known: Mapping[str, set[str]]) -> dict[str, set[str]]:
    """Return the imports that do not follow from others: of a -> b -> c and a -> c, the first two."""

    @cache
    def reached(name: str) -> frozenset[str]:
        return frozenset(known[name]).union(*map(reached, known[name]))

    return {
        name: {other for other in others if not any(other in reached(third) for third in others)}
        for name, others in known.items()
    }


def layers(known: Mapping[str, set[str]]) -> list[list[str]]:
    """Return the parts in layers, the lowest first: each part is one above the highest that it imports."""

    @cache
    def height(name: str) -> int:
        return max((height(other) + 1 for other in known[name]), default=0)

    rows: list[list[str]] = [[] for _ in range(max(map(height, known)) + 1)]
    for name in sorted(known):
        rows[height(name)].append(name)
    return rows


def picture() -> str:
    """Return the picture as SVG; the same source gives the same bytes."""
    all_parts, known = parts(), imports()
    lowest, *rows = layers(known)
    chains = [chain for chain in _chains(rows, direct(known)) if chain]
    rows = _untangled([*map(list, rows)], chains)
    rows.reverse()
    width = max(sum(map(_width, row)) + _GAP * (len(row) - 1) for row in [*rows, lowest]) + 2 * _MARGIN
    places, y = {}, _MARGIN
    boxes: list[str] = []
    for row in rows:
        tallest = max(all_parts[name].height for name in row if name in all_parts)
        for name, left in _spread(row, width):
            places[name] = (left + _width(name) / 2, y, y + tallest)
            if name in all_parts:
                boxes += _box(all_parts[name], left, y, tallest)
        y += tallest + _ROW_GAP
    y -= _ROW_GAP - 24
    boxes.append(_text(width / 2, y + 12, "imported from everywhere, importing nothing of evalkit", "#555", "middle"))
    tallest = max(all_parts[name].height for name in lowest)
    for name, left in _spread(lowest, width):
        boxes += _box(all_parts[name], left, y + 22, tallest, "#fdf3dc", "#b57700")
    height = y + 22 + tallest + _MARGIN
    arrows = [_arrow(stops) for stops in _ports([[places[name] for name in chain] for chain in chains])]
    return "\n".join([
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" '
        'font-family="Helvetica, Arial, sans-serif" role="img" aria-label="The folders of evalkit in layers; '
        'an arrow points from a folder to one that it imports">',
        f'<rect width="{width}" height="{height}" fill="#ffffff"/>',
        '<defs><marker id="tip" viewBox="0 0 10 10" refX="9" refY="5" markerWidth="8" markerHeight="8" orient="auto">'
        '<path d="M0 0 10 5 0 10z" fill="#444"/></marker></defs>',
        '<g stroke="#444" stroke-width="1.5" fill="none" marker-end="url(#tip)">',
        *arrows,
        "</g>",
        *boxes,
        "</svg>\n",
    ])  # fmt: skip


def page(text: str) -> str:
    """Return the text of the page, what stands between the marks of a table replaced by that table."""
    for name, rows in (("folders", _folders()), ("values", _values())):
        begin, end = f"<!-- {name}: written by tools/draw_architecture.py -->\n\n", f"\n<!-- end of {name} -->\n"
        before, marked, rest = text.partition(begin)
        _, closed, after = rest.partition(end)
        assert marked, f"{PAGE.name} lacks the line {begin}"
        assert closed, f"{PAGE.name} lacks the line {end}"
        text = before + begin + "".join(f"| {' | '.join(row)} |\n" for row in rows) + end + after
    return text


def _folders() -> Iterator[tuple[str, str]]:
    """Yield the rows of the table of folders and modules, the lowest layer last, subfolders below their folder."""
    found = parts()
    yield "in evalkit/", "what it has"
    yield "---", "---"
    for row in reversed(layers(imports())):
        for name in row:
            yield f"`{found[name].name}`", _sentence(found[name].sentence)
            for folder in found[name].folders:
                inner = ast.get_docstring(_tree(PACKAGE / name / folder / "__init__.py")) or ""
                yield f"`{found[name].name}{folder}/`", _sentence(inner.split("\n\n")[0])


def _values() -> Iterator[tuple[str, str]]:
    """Yield the rows of the table of the values in types/."""
    yield "value", "what it is"
    yield "---", "---"
    in_order = ("collection", "search", "scores", "effectiveness", "latency", "cost", "blend", "chunks", "trial")
    assert {*in_order, "__init__"} == {path.stem for path in (PACKAGE / "types").glob("*.py")}
    for module in in_order:
        for node in _tree(PACKAGE / "types" / f"{module}.py").body:
            if isinstance(node, ast.ClassDef):
                yield f"`{node.name}`", _sentence((ast.get_docstring(node) or "").split("\n\n")[0])


def _sentence(text: str) -> str:
    return " ".join(text.split()).replace("``", "`").replace("|", "\\|")


@cache
def _tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text("utf-8"))


def _imported(path: Path) -> Iterator[str]:
    """Yield the names below evalkit that a file imports from; some are names of the package, and not parts."""
    for node in ast.walk(_tree(path)):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        else:
            continue
        yield from (name.split(".")[1] for name in names if name.startswith("evalkit."))


def _chains(rows: Sequence[list[str]], known: Mapping[str, set[str]]) -> Iterator[list[str]]:
    """Yield each import as a chain of names, one a row, and give it a lane in every row that it passes."""
    place = {name: number for number, row in enumerate(rows) for name in row}
    for name in sorted(place):
        for other in sorted(known[name] & place.keys()):
            chain = [name]
            for number in range(place[name] - 1, place[other], -1):
                chain.append(f"{name}>{other}>{number}")
                rows[number].append(chain[-1])
            yield [*chain, other]


def _untangled(rows: list[list[str]], chains: Sequence[list[str]]) -> list[list[str]]:
    """Return the rows in an order with few crossings: by the mean place of what each is linked to, up and down."""
    links = [link for chain in chains for link in pairwise(chain)]
    best = rows
    for sweep in range(12):
        rows = [list(row) for row in rows]
        numbers = range(1, len(rows)) if sweep % 2 else range(len(rows) - 2, -1, -1)
        for number in numbers:
            neighbour = rows[number - 1] if sweep % 2 else rows[number + 1]
            at = {name: (place + 0.5) / len(neighbour) for place, name in enumerate(neighbour)}
            own = {name: (place + 0.5) / len(rows[number]) for place, name in enumerate(rows[number])}

            def mean(name: str, at: Mapping[str, float] = at, own: Mapping[str, float] = own) -> float:
                linked = [at[a if b == name else b] for a, b in links if name in (a, b) and (a in at or b in at)]
                return sum(linked) / len(linked) if linked else own[name]

            rows[number].sort(key=mean)
        if _crossings(rows, links) < _crossings(best, links):
            best = rows
    return best


def _crossings(rows: Sequence[Sequence[str]], links: Sequence[tuple[str, str]]) -> int:
    place = {name: (number, column) for number, row in enumerate(rows) for column, name in enumerate(row)}
    ends = [(place[a], place[b]) for a, b in links]
    return sum(
        (a[1] - c[1]) * (b[1] - d[1]) < 0
        for number, (a, b) in enumerate(ends)
        for c, d in ends[:number]
        if a[0] == c[0]
    )


def _width(name: str) -> int:
    return _LANE_WIDTH if ">" in name else _BOX_WIDTH


def _spread(row: Sequence[str], width: int) -> Iterator[tuple[str, float]]:
    """Yield each name of a row with its left edge, the row centred."""
    left = (width - sum(map(_width, row)) - _GAP * (len(row) - 1)) / 2
    for name in row:
        yield name, left
        left += _width(name) + _GAP


def _box(
    part: Part, left: float, top: float, height: float, fill: str = "#eef4fa", stroke: str = "#0072B2"
) -> Iterable[str]:
    yield (
        f'<rect x="{left:g}" y="{top:g}" width="{_BOX_WIDTH}" height="{height:g}" rx="7" fill="{fill}" '
        f'stroke="{stroke}"/>'
    )
    yield _text(left + 12, top + 22, part.name, "#111", size=_NAME_PX, weight="bold")
    for number, line in enumerate(part.lines):
        yield _text(left + 12, top + 41 + _LINE_PX * number, line, "#333")


def _text(
    x: float, y: float, text: str, fill: str, anchor: str = "start", size: int = _TEXT_PX, weight: str = "normal"
) -> str:
    return (
        f'<text x="{x:g}" y="{y:g}" font-size="{size}" font-weight="{weight}" fill="{fill}" '
        f'text-anchor="{anchor}">{escape(text.replace("`", ""))}</text>'
    )


def _ports(routes: list[list["Stop"]]) -> list[list["Stop"]]:
    """Spread the ends of arrows that leave or reach the same box along its edge, in the order of where they come from.

    Args:
        routes: the stops of each arrow, the centres of the boxes at both ends.
    """
    moved = [list(route) for route in routes]
    for end, neighbour in ((0, 1), (-1, -2)):
        for box in {route[end] for route in routes}:
            here = [number for number, route in enumerate(routes) if route[end] == box]
            here.sort(key=lambda number: (routes[number][neighbour][0], number))
            for place, number in enumerate(here, 1):
                x = box[0] + _BOX_WIDTH * (place / (len(here) + 1) - 0.5) * 0.7
                moved[number][end] = (round(x, 1), *box[1:])
    return moved


Stop = tuple[float, float, float]
"""x, top and bottom of a box's middle or of a lane in one row."""


def _arrow(places: Sequence[Stop]) -> str:
    """Return a path from the bottom of the first place to the top of the last, straight through those between."""
    x, _, bottom = places[0]
    path = f"M{x:g} {bottom:g}"
    for to_x, top, below in places[1:]:
        middle = (bottom + top) / 2
        path += f" C{x:g} {middle:g} {to_x:g} {middle:g} {to_x:g} {top:g}"
        if (to_x, top, below) != places[-1]:
            path += f" V{below:g}"
        x, bottom = to_x, below
    return f'<path d="{path}"/>'


if __name__ == "__main__":
    PICTURE.write_text(picture(), "utf-8")
    PAGE.write_text(page(PAGE.read_text("utf-8")), "utf-8")
