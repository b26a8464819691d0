"""Links that are cut in the middle of builds, with real peers. `python -m tests.cuts --help`."""
