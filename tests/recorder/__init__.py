"""The recorder: what it writes of a finished job, and what it does when the file is in trouble."""
