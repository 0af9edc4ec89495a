"""Bytes to checked records: SA-1B tars and folders, and the evaluation releases."""
