"""The command line. Commands import what they need when they run, so that --help is fast."""

from __future__ import annotations

import sys
from typing import cast


def main() -> None:
    """Run `mmdtwin`: exit 0 done, 1 failed or goal not reached, 2 bad input."""
    import typer

    from mmdtwin.cli.app import app
    from mmdtwin.errors import PhysicsError, RigError, UserError

    # Wrong usage, of which a bad parameter is one kind: click's class, or since 0.26 typer's own.
    wrong_usage = cast("type[typer.BadParameter]", typer.BadParameter.__base__)
    try:
        code = app(standalone_mode=False)
    except UserError as error:
        code = _complain(str(error), 2)
    except wrong_usage as error:
        code = _complain(error.format_message(), 2)
    except OSError as error:  # a file or folder that a command was told to read or write
        if error.filename is None:
            raise
        code = _complain(f"{error.filename}: {error.strerror}", 2)
    except (PhysicsError, RigError) as error:
        code = _complain(str(error), 1)
    except (KeyboardInterrupt, typer.Abort):
        code = _complain("interrupted", 1)
    sys.exit(code if isinstance(code, int) else 0)


def _complain(message: str, code: int) -> int:
    if message:  # without arguments the help has been printed, and says it all
        print(f"mmdtwin: {' '.join(message.split())}", file=sys.stderr)
    return code
