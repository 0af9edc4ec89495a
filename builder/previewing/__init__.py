"""The preview of a config: a page and a contact sheet with rows, statistics, rejects and counts."""
