"""The regression gate: a result against a committed baseline, check by check."""
