"""The interface for Python: evaluate, load, compare and gate, on the same code as the command line."""
