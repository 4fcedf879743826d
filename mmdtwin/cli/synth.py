"""`mmdtwin synth`: masks and backgrounds."""

from __future__ import annotations

import typer

from mmdtwin.cli.synth_background import background
from mmdtwin.cli.synth_mask import mask

app = typer.Typer(help="Synthetic images.", no_args_is_help=True)
app.command()(background)
app.command()(mask)
