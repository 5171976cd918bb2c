"""The embedded server with real servers, each in a directory of its own test."""
