"""The slave's side: `SlaveSession` and what goes in and out of it."""
