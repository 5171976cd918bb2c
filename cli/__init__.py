"""The command line of aiotask; it installs as ``aiotask_cli``."""
