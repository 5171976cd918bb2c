"""The supervisor as its operator meets it: signals, stops, replacements, code that does not load."""
