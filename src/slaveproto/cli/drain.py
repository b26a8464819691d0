"""The option `--drain` of what runs builds."""

from __future__ import annotations

import argparse
import math


def add_drain(parser: argparse.ArgumentParser, default: float) -> None:
    """Add the option; its value is a number of seconds."""
    parser.add_argument(
        "--drain", type=_seconds, default=default, metavar="SECONDS",
        help=f"how long builds may go on before they are interrupted; 0 is at once [{default:g}]",
    )  # fmt: skip


def _seconds(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 <= value < 1e9:
        raise argparse.ArgumentTypeError(f"{text!r} is no number of seconds from 0 to 999999999")
    return value
