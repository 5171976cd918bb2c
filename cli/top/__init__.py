"""``aiotask top``: the dashboard in the terminal."""
