"""Figures of the product on this machine: ``python -m benchmarks`` (what ``make bench`` calls)."""
