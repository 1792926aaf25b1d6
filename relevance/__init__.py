"""Judgments, click models, runs, measures, comparisons and training rows: files and pure functions.

Knows no model, no cluster and no queue; `rerankers` and `gateway` bring these. Each module says
what it offers.
"""
