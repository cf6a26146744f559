"""report.html: one page about a trial or a comparison, safe by construction, that loads nothing."""
