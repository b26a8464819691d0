"""Row 7: a master with many slaves, some of them busy, beside a Perspective Broker server on Twisted."""

from benchmarks.many_slaves.rows import rows as rows
