"""The command line: help, options and their environment variables, errors, and what commands show of a real server."""
