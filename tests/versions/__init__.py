"""The whole round trip with the versions of `datasets` that people run, each in its own venv."""
