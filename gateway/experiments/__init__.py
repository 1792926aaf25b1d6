"""Experiments on live searches: assigned, noted, credited with clicks, and reported."""
