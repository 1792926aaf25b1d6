"""``python -m rerankers.finetune``: the same as ``python -m rerankers finetune``."""

from rerankers.finetune.run import main

if __name__ == "__main__":
    main()
