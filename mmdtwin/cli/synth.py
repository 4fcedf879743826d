"""`mmdtwin synth`: masks, backgrounds and labelled images."""

from __future__ import annotations

import typer

from mmdtwin.cli.synth_background import background
from mmdtwin.cli.synth_benchmark import benchmark
from mmdtwin.cli.synth_dataset import dataset, show
from mmdtwin.cli.synth_mask import mask
from mmdtwin.cli.synth_radiographs import radiographs
from mmdtwin.cli.synth_reader_study import reader_study

app = typer.Typer(help="Synthetic images.", no_args_is_help=True)
app.command()(background)
app.command()(mask)
app.command()(dataset)
app.command()(show)
app.command()(benchmark)
app.command()(radiographs)
app.command()(reader_study)
