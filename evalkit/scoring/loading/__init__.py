"""A model and its tokenizer from a folder or the hub: checked, and refused by name, before anything is scored."""
