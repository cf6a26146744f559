"""First stages, which find candidates: `search(slice, depth) -> Run`."""
