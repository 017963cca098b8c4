"""Results against their records, and what can be removed."""
