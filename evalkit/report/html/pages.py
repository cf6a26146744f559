"""Pages about a trial, a comparison and the history, to show where it is decided what goes into production."""

from evalkit.report.html.comparison import comparison
from evalkit.report.html.history import history
from evalkit.report.html.trial import trial

__all__ = ["comparison", "history", "trial"]
