"""A module without a single task."""
