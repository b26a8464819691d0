"""Text for people and JSON for programs: the terminal, reports and results."""
