"""Apps as users write them: workers import them by name, and so do the tests that call their tasks.

Each takes the name of its app from TEST_APP, so that no two tests meet on the server.
"""
