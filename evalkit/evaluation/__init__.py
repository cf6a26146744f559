"""Rankings in, numbers out: order, measures, ties, statistics, and the caveats of a figure."""
