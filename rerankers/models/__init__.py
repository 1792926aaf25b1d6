"""Models of published rerankers that transformers does not have, for their checkpoints as they are."""
