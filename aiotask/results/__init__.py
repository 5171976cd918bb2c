"""What a caller holds of jobs that were sent: handles on one job, on a group, on a stream, and what these show."""
