"""First stages: find the candidates of each query, by `search(slice, depth) -> Run`."""
