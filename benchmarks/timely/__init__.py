"""Limits, rates, turns, schedules, streams, keys and batches through real workers, held against what is promised."""
