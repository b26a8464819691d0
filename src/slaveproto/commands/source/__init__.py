"""Commands that bring sources from a version control system: one engine, and one short description per system.

`engine` is the plan that all of them share, `workshop` what a description works with; each other module describes one
system: what makes a tree usable, and which programs bring it, update it, and tell its revision.
"""
