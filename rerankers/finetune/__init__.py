"""Fine-tuning of rerankers, on transformers' trainer and peft: ``python -m rerankers finetune --help``."""
