"""The history: every finished run in an index, filtered, sorted, and paired by commit."""
