"""The TOML file that describes builds: its document, its kinds of value, its keys."""
