"""Loads a model and its tokenizer from a folder or the hub, and checks them before anything is scored."""
