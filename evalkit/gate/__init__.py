"""The gate: a result against a baseline, check by check; what got worse is named, noise is let pass."""
