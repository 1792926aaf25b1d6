"""The commands of ``python -m gateway`` beside serving: each a module with ``main(argv, prog)``."""
