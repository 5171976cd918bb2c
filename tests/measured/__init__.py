"""Tests of remedies for the traps that ``tests/test_measured.py`` lists, by the part that sets the trap."""
