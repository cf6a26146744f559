"""Where queries, passages and judgments come from; each module's `load` returns a `Slice`."""
