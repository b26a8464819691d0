"""Runners: they perform what a session asks for, and decide nothing.

`transports.threads` is blocking and needs only the standard library.
"""
