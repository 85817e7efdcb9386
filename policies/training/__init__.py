"""Training of the language layer: lessons from logs, general knowledge, tokenizer, model and adaptor."""
