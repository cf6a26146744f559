"""Writes a file whole or not at all: to a temporary name first, then renamed."""

from contextlib import suppress
from pathlib import Path


def write_whole(path: Path, text: str) -> None:
    """Write UTF-8, lone surrogates of broken texts included; nothing is left of a write that fails.

    Raises:
        OSError: it cannot be written there, or the disk is full.
    """
    temporary = path.with_name(path.name + ".part")
    try:
        temporary.write_text(text, encoding="utf-8", errors="surrogatepass")
        temporary.replace(path)
    except OSError:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise
