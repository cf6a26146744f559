"""Collections: a module for each source, whose `load` returns queries, passages and judgments as a `Slice`."""
