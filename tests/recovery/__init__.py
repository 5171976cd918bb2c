"""What dies and what becomes of its jobs: workers, keepers, supervisors, whole hosts, and jobs that kill."""
