"""Who calls the shard function: this machine, a cluster."""
