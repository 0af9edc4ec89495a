"""Campaigns: attacks on the project, bounded and seeded, whose figures stand in RELIABILITY.md.

    python -m campaigns                 all of them, shortened, as a table
    python -m campaigns --write         all of them at full length; writes RELIABILITY.md's tables
    python -m campaigns.fuzz --seed 7   one of them

A campaign prints a table to stderr and JSON to stdout. Its exit status is 1 if it found something.
The same seed makes the same inputs. What a campaign finds becomes a case in `tests/`.
"""
