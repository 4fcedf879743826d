"""`mmdtwin eval`: how good models are."""

from __future__ import annotations

import typer

from mmdtwin.cli.eval_background import background

app = typer.Typer(help="Measure models.", no_args_is_help=True)
app.command()(background)


@app.callback()
def _group() -> None:
    """Keep `background` a named command while it is the only one."""
