"""The provenance of a result: versions, commits, platform, command."""

import os
import platform
import subprocess
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

PACKAGES = ("torch", "transformers", "tokenizers", "ranx", "bm25s", "ir_datasets", "numpy", "hydra-core")
"""Packages whose versions a result records."""


def collect(command: list[str]) -> dict[str, Any]:
    """Return the provenance as JSON-ready values; what cannot be found is left out or None.

    Args:
        command: the program and its arguments.
    """
    import evalkit

    here = Path(evalkit.__file__).parent
    return {
        "evalkit": {"version": evalkit.__version__, **git_state(here)},
        "working_dir": git_state(Path.cwd()),
        "command": command,
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "cpu_count": os.cpu_count(),
        "versions": {name: found for name in PACKAGES if (found := _version(name))},
        "env": {key: os.environ[key] for key in ("IR_DATASETS_HOME", "HF_HOME", "HF_HUB_OFFLINE", "OMP_NUM_THREADS")
                if key in os.environ},
    }  # fmt: skip


def git_state(folder: Path) -> dict[str, Any]:
    """Return ``commit`` and ``dirty`` of the checkout that `folder` is tracked in, or both as None outside of one."""
    if not _git(folder, "ls-files", "--", "."):
        return {"commit": None, "dirty": None}  # no repository, or an environment that lies inside of one
    commit = _git(folder, "rev-parse", "HEAD")
    return {"commit": commit, "dirty": bool(_git(folder, "status", "--porcelain", "--untracked-files=no"))}


def state_of(provenance: Mapping[str, Any]) -> tuple[str | None, bool | None]:
    """Return the commit that a result was made at, and whether tracked files differed from it; None for unknown.

    It is that of the folder that evalkit ran in, else of evalkit's own checkout.

    Args:
        provenance: as `collect` returns it, or as a result of somebody else's has it.
    """
    for of in ("working_dir", "evalkit"):
        state = provenance.get(of)
        if isinstance(state, Mapping) and isinstance(commit := state.get("commit"), str) and commit:
            dirty = state.get("dirty")
            return commit, dirty if isinstance(dirty, bool) else None
    return None, None


def resolve_commit(name: str) -> str | None:
    """Return the commit that git knows by a name, such as a tag, in the checkout that this process runs in; or None."""
    return _git(Path.cwd(), "rev-parse", "--verify", "--quiet", "--end-of-options", f"{name}^{{commit}}")


def command_line() -> list[str]:
    """Return the command that a user would type to run this again."""
    program = "evalkit" if Path(sys.argv[0]).name == "evalkit" else "python -m evalkit"
    return [program, *sys.argv[1:]]


def _git(folder: Path, *arguments: str) -> str | None:
    try:
        done = subprocess.run(
            ["git", "-c", "core.fsmonitor=false", "-C", str(folder), *arguments],
            capture_output=True,
            text=True,
            timeout=10,
            check=False,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip() if done.returncode == 0 else None


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None
