"""The commands of ``python -m relevance``: each a module with ``main(arguments, prog)``."""
