"""Scores on the workers of a Ray cluster, with the same bits as on one machine."""
