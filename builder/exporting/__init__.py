"""From shards to the folders that ASAM's own code reads."""
