"""What the systems that aiotask grew from do, case by case, on a real server with real worker processes."""
