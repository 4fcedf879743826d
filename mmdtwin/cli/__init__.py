"""The command line. Commands import what they need when they run, so that --help is fast."""

from __future__ import annotations

import sys


def main() -> None:
    """Run `mmdtwin`: exit 0 done, 1 failed or goal not reached, 2 bad input."""
    import click

    from mmdtwin.cli.app import app
    from mmdtwin.errors import PhysicsError, RigError, UserError

    try:
        code = app(standalone_mode=False)
    except UserError as error:
        code = _complain(str(error), 2)
    except click.ClickException as error:
        code = _complain(error.format_message(), 2)
    except (PhysicsError, RigError) as error:
        code = _complain(str(error), 1)
    except (KeyboardInterrupt, click.Abort):
        code = _complain("interrupted", 1)
    sys.exit(code if isinstance(code, int) else 0)


def _complain(message: str, code: int) -> int:
    print(f"mmdtwin: {' '.join(message.split())}", file=sys.stderr)
    return code
