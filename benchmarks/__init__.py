"""How fast and how small aiotask is on this machine: ``python -m benchmarks``. Not installed with the package."""
