"""The commands that a master can start: their arguments, their scripts, and the registry of them."""
