"""The families of rerankers, one file each: how it is loaded, how it encodes pairs, where its scores are."""
