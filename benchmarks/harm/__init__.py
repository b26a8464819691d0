"""Harm, done on purpose to ours and to real Buildbots: the figures of docs/promises.md.

Rules:

* A module is a topic, and holds its rows in a literal `ROWS`. A row is one harm; its function does it to one side and
  returns the figure in words, with its unit. What went wrong in the doing is an exception, not a figure.
* A row says which sides it can be done to: `ours`, `4.3.0`, `0.8.4`. The same harm and the same measure for each side.
* Nothing here is a test. The tests that keep the promises are named in docs/promises.md.
"""
