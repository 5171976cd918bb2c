"""Streams and progress: what jobs emit and report while they run."""
