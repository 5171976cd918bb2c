"""A. The task is a normal typed function."""
