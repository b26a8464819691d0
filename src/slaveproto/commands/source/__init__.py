"""Source commands, which check out a tree from version control: one plan, and one short description per system.

`plan` is what all of them do, `options` reads their arguments, `workspace` has the directories, files and programs that
a description works with. Each other module describes one system: when a tree can be updated, and which programs check
it out, update it, and tell its revision.
"""
