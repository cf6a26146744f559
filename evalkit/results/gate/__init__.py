"""A result against a committed baseline, check by check; what got worse is named, noise is let pass."""
