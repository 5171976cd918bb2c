"""What users do wrong, and what the world does to them: each ends with one clear error, and nothing else breaks."""
