"""Rerankers: each has `load`, `score(pairs) -> Scores` and says in `describe()` what was really done."""
