"""First stages: each has `search(slice, depth) -> Run` and says in `describe()` what was really done."""
