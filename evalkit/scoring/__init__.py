"""The scoring engine of the cross-encoder: pairs of texts in, logits out.

It can be imported with torch, transformers and numpy alone (`cluster/` also needs Ray when it runs).
"""
