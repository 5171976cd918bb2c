"""How events of jobs, summaries and the banner are said."""
