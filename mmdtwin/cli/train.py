"""`mmdtwin train`: models from data."""

from __future__ import annotations

import typer

from mmdtwin.cli.train_background import background
from mmdtwin.cli.train_detector import detector
from mmdtwin.cli.train_segmenter import segmenter

app = typer.Typer(help="Train models.", no_args_is_help=True)
app.command()(background)
app.command()(segmenter)
app.command()(detector)
