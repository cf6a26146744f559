"""Rankings in, numbers out: order, measures, ties, statistics, and what a figure is worth."""
