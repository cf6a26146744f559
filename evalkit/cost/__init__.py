"""The cost of reranking: time, memory, energy and price."""
