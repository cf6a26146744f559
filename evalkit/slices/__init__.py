"""Sources of queries, passages and judgments; the `load` function of each module returns a `Slice`."""
