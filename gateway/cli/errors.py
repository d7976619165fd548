"""Exit codes, and the boundary where a typed error becomes one clear line."""

from __future__ import annotations

from enum import IntEnum
from typing import Any, Final

import typer
from typer.core import TyperGroup


class ExitCode(IntEnum):
    """What a script can tell from the exit code alone."""

    DONE = 0
    REFUSED = 1
    USAGE = 2
    NOT_FOUND = 3
    UNAVAILABLE = 4
    INTERRUPTED = 130


EPILOG: Final = (
    "Exit codes: 0 done; 1 refused or failed, the message says why; 2 wrong usage or "
    "configuration; 3 no such app, file or folder; 4 not reachable now, try again; "
    "130 interrupted."
)


class CommandError(Exception):
    """A command's own failure: what to say, and the exit code."""

    def __init__(self, text: str, code: ExitCode = ExitCode.REFUSED) -> None:
        super().__init__(text)
        self.code = code


def _codes() -> tuple[tuple[type[Exception], ExitCode], ...]:
    """Which error gives which exit code; the first that fits counts.

    They are imported only now that something went wrong: it takes a second.
    """
    from homeport import ClientError, RateLimited, SendTimeout

    from gateway.apps.errors import AppError, MainlandOnly, WebhookNotFound
    from gateway.config import ConfigError
    from gateway.dev.datafolder import DevFolderError
    from gateway.dev.embedded import EmbeddedError
    from gateway.redis.errors import OperationFailed, Unavailable
    from gateway.runtime.starting import StartError
    from gateway.security.errors import TokenRefused
    from gateway.security.keyring import KeyringError, KeyringMissing
    from gateway.security.sealing import SealError
    from gateway.store.errors import AppNotFound
    from gateway.tasks import TaskEnded

    return (
        (KeyringMissing, ExitCode.NOT_FOUND),
        (DevFolderError, ExitCode.NOT_FOUND),
        (AppNotFound, ExitCode.NOT_FOUND),
        (WebhookNotFound, ExitCode.NOT_FOUND),
        (FileNotFoundError, ExitCode.NOT_FOUND),
        (Unavailable, ExitCode.UNAVAILABLE),
        (ConfigError, ExitCode.USAGE),
        (MainlandOnly, ExitCode.REFUSED),
        (AppError, ExitCode.USAGE),
        (KeyringError, ExitCode.REFUSED),
        (SealError, ExitCode.REFUSED),
        (EmbeddedError, ExitCode.REFUSED),
        (OperationFailed, ExitCode.REFUSED),
        (StartError, ExitCode.REFUSED),
        (TaskEnded, ExitCode.REFUSED),
        (TokenRefused, ExitCode.REFUSED),
        (RateLimited, ExitCode.UNAVAILABLE),
        (SendTimeout, ExitCode.UNAVAILABLE),
        (ClientError, ExitCode.REFUSED),
        (OSError, ExitCode.REFUSED),
    )


class Boundary(TyperGroup):
    """The top command: no typed error leaves it as a traceback. A bug still does."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Read the arguments, of this command and those under it; all of them must be UTF-8."""
        for number, argument in enumerate(args, 1):
            if not argument.isascii() and any("\ud800" <= char <= "\udfff" for char in argument):
                raise typer.BadParameter(f"argument {number} is not UTF-8")
        parsed: list[str] = super().parse_args(ctx, args)
        return parsed

    def invoke(self, ctx: Any) -> Any:
        """Run the command, and say on stderr what went wrong."""
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            raise typer.Exit(ExitCode.INTERRUPTED) from None
        except BrokenPipeError:
            raise  # the reader has had enough (`| head`): typer ends quietly
        except CommandError as error:
            _say(str(error))
            raise typer.Exit(error.code) from None
        except (typer.Exit, typer.Abort, typer.TyperException):
            raise  # typer's own
        except Exception as error:
            for kind, code in _codes():
                if isinstance(error, kind):
                    _say(_text(error))
                    raise typer.Exit(code) from None
            raise


def _text(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror and error.filename:
        return f"{error.filename}: {error.strerror}"
    return str(error)


def _say(text: str) -> None:
    for line in text.splitlines():
        typer.echo(f"homeport: {line}", err=True)
