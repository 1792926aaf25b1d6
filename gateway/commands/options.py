"""Knows how a command reads options of its own beside those of the gateway."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from gateway.settings import GatewaySettings, read_settings


def build_parser(prog: str, about: str, example: str = "") -> argparse.ArgumentParser:
    """A command's parser, for `read_both`."""
    return argparse.ArgumentParser(
        prog,
        description=about,
        epilog=example,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        add_help=False,  # `read_both` tells the gateway's options too
        allow_abbrev=False,
    )


def read_both(
    parser: argparse.ArgumentParser, argv: Sequence[str]
) -> tuple[argparse.Namespace, GatewaySettings]:
    """The command's own options, and the gateway's of the rest.

    Raises:
        ConfigurationError: one is unknown or wrong.
        SystemExit: ``--help`` was asked for, and both are printed.
    """
    own, rest = parser.parse_known_args(argv)
    if {"-h", "--help"} & set(rest):
        parser.print_help()
        print()
    return own, read_settings(rest)
