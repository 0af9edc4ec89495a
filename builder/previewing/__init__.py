"""A look at a config: sample rows, statistics, rejects and counts, as pictures and a page."""
