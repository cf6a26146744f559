"""The resident set of this process, read from /proc."""

from pathlib import Path

MIB = 2**20
"""Bytes of one MiB, the unit of every figure that ends in ``_mb``."""


def resident_mb() -> float | None:
    """Return the resident set of this process in MiB, or None where there is no /proc."""
    return _status("VmRSS")


def peak_resident_mb() -> float | None:
    """Return the peak resident set in MiB since the last reset, or None where there is no /proc.

    VmHWM, not ``ru_maxrss``: that one survives exec, so it would show the peak of the process that started this one.
    """
    return _status("VmHWM")


def _status(field: str) -> float | None:
    try:
        lines = Path("/proc/self/status").read_text(encoding="ascii", errors="replace").splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) / 1024 for line in lines if line.startswith(f"{field}:")), None)
