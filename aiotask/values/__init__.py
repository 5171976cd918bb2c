"""Values that senders, workers, keepers and brokers share. What enforces them is theirs."""
