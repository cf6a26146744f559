"""report.html: one page about a trial, or a comparison, to show where it is decided what goes into production."""

from evalkit.report.html.comparison import comparison
from evalkit.report.html.trial import trial

__all__ = ["comparison", "trial"]
