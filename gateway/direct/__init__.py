"""Scores for applications that ask for them directly, in the rerank APIs that they already speak."""
