"""Rows and sentences of reports, whatever the format."""
