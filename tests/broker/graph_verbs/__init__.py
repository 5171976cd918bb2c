"""Tests of the verbs of graphs, on every broker that has them."""
