"""The engine under the cross-encoder: pairs of texts in, logits out.

It stands alone: nothing here imports more than torch, transformers, numpy and `evalkit.errors`.
"""
