"""`mmdtwin xray`: frames of a scene, the checks of their physics, calibration of an imager."""

from __future__ import annotations

import typer

from mmdtwin.cli.xray_calibrate import calibrate
from mmdtwin.cli.xray_check import check
from mmdtwin.cli.xray_show import show

app = typer.Typer(help="X-ray frames of a scene.", no_args_is_help=True)
app.command()(show)
app.command()(check)
app.command()(calibrate)
