"""Scored pairs on disk: a run that died goes on where it stopped."""
