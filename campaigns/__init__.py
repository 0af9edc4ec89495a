"""Campaigns: attacks on the project, bounded and seeded, whose figures stand in RELIABILITY.md.

    python -m campaigns                          a hundredth of each
    python -m campaigns --percent 100 --write    all of each; writes the tables of RELIABILITY.md
    python -m campaigns.fuzz --seed 7            one of them

A campaign prints a table to stderr and JSON to stdout. Its exit status is 1 if it found something.
The same seed makes the same inputs. What a campaign finds becomes a case in `tests/`.
"""
