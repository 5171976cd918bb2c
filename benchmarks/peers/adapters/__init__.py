"""One module per queue, imported in that queue's own environment: its tasks, its worker commands, its client."""
