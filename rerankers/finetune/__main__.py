"""``python -m rerankers.finetune``: the same as ``python -m rerankers finetune``, as torchrun starts it."""

import sys

from rerankers.errors import RerankerError
from rerankers.finetune.run import main

if __name__ == "__main__":
    try:
        main()
    except RerankerError as error:
        sys.exit(f"python -m rerankers.finetune: {error}")
