"""The commands of ``python -m rerankers`` but ``finetune``: each a module, and what they share."""
