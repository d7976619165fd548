"""`homeport bench`: the load tests, which live beside the package and not in it."""

from __future__ import annotations

import typer

from gateway.cli.errors import CommandError, ExitCode

SETTINGS = {"allow_extra_args": True, "ignore_unknown_options": True, "help_option_names": []}
"""Whatever follows the verb, ``--help`` too, is for the bench to read."""


def bench(context: typer.Context) -> None:
    """Load a gateway and measure it: `homeport bench --help`. It needs the source tree."""
    try:
        from bench.cli import main
    except ModuleNotFoundError as error:
        raise CommandError(
            f"the bench is not part of the installed package ({error}): a gateway needs none of "
            "its plots and histograms. It is the folder bench/ of Homeport's source tree; "
            "run `.venv/bin/python -m bench` there, after `make run` or `make test` once",
            ExitCode.NOT_FOUND,
        ) from None
    main(context.args, "homeport bench")
