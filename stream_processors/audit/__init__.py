"""The audit: proves that stream, table, windows, rollups, alerts, limits and dashboard tell the same numbers.

It is exact at any instant, because both sides of each comparison name the position up to which they have counted.
Every check is a function from what it read to a `Check`; `run.py` does them all.
"""
