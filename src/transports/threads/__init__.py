"""A blocking runner for a slave: one thread for the session, others for what may block. Needs no trio."""

from transports.threads.runner import Runner as Runner
