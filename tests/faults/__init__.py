"""Tests of a master and a slave over a network that does harm."""
