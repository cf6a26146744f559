"""What reranking costs: time, memory, energy and price, as one protocol states what is measured."""
