"""MkDocs hook: add the files outside of docs/ that pages link to, so that one link works on GitHub and in the site.

MkDocs knows only files below docs/. A page there may link to ``../SECURITY.md`` or ``../reports/examples/x.png``, which
is right in the repository. Here such a file becomes part of the site under its path in the repository, and the link is
rewritten to its path in the site. A link to a file that does not exist is left unchanged, and fails the strict build.
"""

import posixpath
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File, Files, InclusionLevel
from mkdocs.structure.pages import Page

ROOT = Path(__file__).parents[1]
DOCS = "docs/"
LINK = re.compile(r"(?<=\]\()(?P<path>[^)\s#:]+)(?P<rest>(?:#[^)\s]*)?(?:\s+\"[^\"]*\")?(?=\)))")
CODE = re.compile(r"(^ *```.*?^ *```|`[^`\n]+`)", re.MULTILINE | re.DOTALL)


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add what the navigation and the pages name and docs/ does not hold, and what those files link to in turn."""
    in_nav = set(_nav_paths(config.nav))
    waiting = [(ROOT / path).resolve() for path in in_nav if not (ROOT / DOCS / path).exists()]
    pages = [file for file in files if file.src_uri.endswith(".md")]
    waiting += [target for page in pages for target in _targets(page.src_uri, page.content_string)]
    while waiting:
        source = waiting.pop()
        uri = _site_uri(source)
        if uri is None or files.get_file_from_path(uri) or not source.is_file():
            continue
        inclusion = InclusionLevel.INCLUDED if uri in in_nav else InclusionLevel.NOT_IN_NAV
        added = File.generated(config, uri, abs_src_path=str(source), inclusion=inclusion)
        if any(file.dest_uri == added.dest_uri for file in files):
            raise PluginError(f"{uri}: another file of the site becomes {added.dest_uri} too; link to one of them")
        files.append(added)
        if source.suffix == ".md":
            waiting += _targets(uri, source.read_text("utf-8"))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Rewrite links to files of the repository into links to where they lie in the site."""
    here = page.file.src_uri

    def rewrite(found: re.Match[str]) -> str:
        uri = _site_uri(_resolve(here, found["path"]))
        if uri is None or files.get_file_from_path(uri) is None:
            return found[0]
        return posixpath.relpath(uri, posixpath.dirname(here) or ".") + found["rest"]

    parts = CODE.split(markdown)  # every other part is code, where nothing is a link
    return "".join(part if number % 2 else LINK.sub(rewrite, part) for number, part in enumerate(parts))


def _nav_paths(nav: Any) -> Iterable[str]:
    if isinstance(nav, str):
        yield nav
    for value in nav.values() if isinstance(nav, dict) else nav if isinstance(nav, list) else ():
        yield from _nav_paths(value)


def _targets(uri: str, markdown: str) -> list[Path]:
    parts = CODE.split(markdown)[::2]
    return [_resolve(uri, found["path"]) for part in parts for found in LINK.finditer(part)]


def _resolve(uri: str, link: str) -> Path:
    """Return the file that a link of the page at `uri` of the site means in the repository."""
    folder = ROOT / (DOCS + uri if (ROOT / DOCS / uri).exists() else uri)
    return (folder.parent / link).resolve()


def _site_uri(path: Path) -> str | None:
    """Return where a file of the repository lies in the site; None for one outside of the repository."""
    if not path.is_relative_to(ROOT):
        return None
    return path.relative_to(ROOT).as_posix().removeprefix(DOCS)
