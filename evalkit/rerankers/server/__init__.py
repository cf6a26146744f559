"""A reranking server as its client sees it: the requests of each protocol, and a client that retries."""
