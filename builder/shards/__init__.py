"""The plan, the shards, their receipts and the index."""
