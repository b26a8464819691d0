"""A small CI server: builds described in one TOML file, on real slaves or on one of its own."""
