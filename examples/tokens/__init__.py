"""Text that grows in the browser while a worker makes it: see ``site.py``."""
