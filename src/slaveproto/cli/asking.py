"""Options with which `trigger` and `build` ask for a certain build: `--branch`, `--revision` and `--property`."""

from __future__ import annotations

import argparse

from slaveproto.ci.errors import UsageError


def add_asked(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    parser.add_argument("--branch", metavar="NAME", help="of the source: the word %%(branch)s of FILE.toml")
    parser.add_argument("--revision", metavar="ID", help="of the source: the word %%(revision)s")
    parser.add_argument(
        "--property",
        metavar="NAME=VALUE",
        action="append",
        default=[],
        help="what %%(prop:NAME)s stands for; may be given repeatedly, and for project, repository, category and "
        "codebase, too",
    )


def asked_in(options: argparse.Namespace) -> dict[str, str]:
    """Return what the options ask of a build.

    Raises:
        UsageError: a property has no name, one of the master's own or of another form, or comes twice.
    """
    from slaveproto.ci.properties import LONGEST, MOST, NAME, OF_REQUESTS, is_free

    pairs = [(name, getattr(options, name)) for name in ("branch", "revision")]
    asked = {name: text for name, text in pairs if text is not None}
    for given in options.property:
        name, sign, text = given.partition("=")
        if not sign or not NAME.fullmatch(name):
            raise UsageError(f"--property {given}: should be NAME=VALUE, the name of letters, digits and _.-")
        if name not in OF_REQUESTS and not is_free(name):
            raise UsageError(f"--property {given}: {name} is what the master says itself")
        if name in asked:
            raise UsageError(f"--property {given}: {name} comes twice")
        asked[name] = text
    for name, text in asked.items():
        if len(text) > LONGEST:
            raise UsageError(f"the property {name} has more than {LONGEST} characters")
    if len(asked) > MOST:
        raise UsageError(f"more than {MOST} properties")
    # What the system gave is not always Unicode.
    return {name: text.encode("utf-8", "backslashreplace").decode() for name, text in asked.items()}
