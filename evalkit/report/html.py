"""report.html: one page about a trial, or a comparison, to show where it is decided what goes into production."""

from evalkit.report.page.comparison import comparison
from evalkit.report.page.trial import trial

__all__ = ["comparison", "trial"]
