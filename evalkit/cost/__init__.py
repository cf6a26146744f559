"""What reranking takes: time, memory, energy and price; alone in evalkit, it knows clocks."""
