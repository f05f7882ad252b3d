"""A name, a path or an object becomes a model with its tokenizer."""
