"""What verify checks of a dist: the index, each shard, each row."""
