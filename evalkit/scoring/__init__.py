"""The scoring engine of the cross-encoder: pairs of texts in, logits out.

It can be imported with torch, transformers, numpy and `evalkit.errors` alone (`cluster/` also needs Ray when it runs).
"""
