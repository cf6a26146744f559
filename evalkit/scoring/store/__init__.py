"""Scored pairs on disk, from which an interrupted run is resumed."""
