"""The options of commands that search judged queries: where, and by which policy."""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from gateway.commands.options import read_both
from gateway.errors import ConfigurationError, GatewayError
from gateway.evaluation.template import PLACEHOLDER, Template
from gateway.settings import Config, GatewaySettings
from relevance.errors import RelevanceError
from search_plugin import Policy, find_policy


def run(
    parser: argparse.ArgumentParser,
    argv: Sequence[str],
    do: Callable[[argparse.Namespace, GatewaySettings], None],
) -> int:
    """Read the options and do it; 2 where an option is wrong, 1 where something stands in the way."""
    logging.getLogger("gateway").addHandler(logging.NullHandler())  # what fails is told in one line
    try:
        do(*read_both(parser, argv))
    except (GatewayError, RelevanceError) as error:
        print(f"{parser.prog}: {error}", file=sys.stderr)
        return 2 if isinstance(error, ConfigurationError) else 1
    return 0


def find_policies(config: Config, names: Sequence[str], index: str | None) -> list[Policy]:
    """The policies of these names; the one that covers the index where none is named.

    Raises:
        ConfigurationError: there is none, or no index.
    """
    if not index:
        raise ConfigurationError("--index: is needed")
    if not names:
        covering = find_policy(index.split(","), config.policies)
        if covering is None:
            raise ConfigurationError(f"--policy: none covers the index {index!r}; name one")
        return [covering]
    known = {policy.name: policy for policy in config.policies}
    for name in names:
        if name not in known:
            raise ConfigurationError(f"--policy: there is no {name!r}; there are {', '.join(known)}")
    return [known[name] for name in dict.fromkeys(names)]


def add_search_options(parser: argparse.ArgumentParser) -> None:
    """What is searched, and how."""
    add = parser.add_argument
    add("--index", help="index, alias or pattern that is searched; documents are known by their _id")
    add(
        "--search",
        type=Path,
        metavar="FILE",
        help=f"JSON body of the search, %{PLACEHOLDER}% where the query stands "  # argparse's %% is a %
        "(a plain query over the policy's fields)",
    )


def read_template(given: argparse.Namespace, policy: Policy) -> Template:
    """The search that the options describe.

    Raises:
        BadTemplate: see `Template.read`.
    """
    return Template.read(given.search) if given.search else Template.for_policy(policy)
