"""ResultDB and `aiotask results`: the history for those who ask."""
