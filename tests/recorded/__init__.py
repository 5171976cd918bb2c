"""Messages as the release before wrote them, and the app that they are of."""
