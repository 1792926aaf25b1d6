"""Judged queries against a live cluster: rankings to be measured, and hard negatives for training."""
