"""The evaluation suite: one table, and the readers of its releases."""
