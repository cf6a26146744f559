"""Scoring past one machine: the same bits as on one, over the workers of a Ray cluster."""
