"""The relay, without I/O: joins slaves and a master, and between two relays the link may break."""
