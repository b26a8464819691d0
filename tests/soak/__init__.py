"""A soak: a master and its slaves for a long time under random kills. `python -m tests.soak --help`."""
