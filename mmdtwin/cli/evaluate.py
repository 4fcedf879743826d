"""`mmdtwin eval`: how good models are."""

from __future__ import annotations

import typer

from mmdtwin.cli.eval_background import background
from mmdtwin.cli.eval_detector import detector

app = typer.Typer(help="Measure models.", no_args_is_help=True)
app.command()(background)
app.command()(detector)
