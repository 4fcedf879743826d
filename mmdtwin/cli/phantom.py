"""`mmdtwin phantom`: vessels, drawn, random, or from a user's own data."""

from __future__ import annotations

import typer

from mmdtwin.cli import phantom_import, phantom_make, phantom_show

app = typer.Typer(help="Vessels.", no_args_is_help=True)
app.command("make")(phantom_make.make)
app.command("from-ct")(phantom_import.from_ct)
app.command("from-mesh")(phantom_import.from_mesh)
app.command("show")(phantom_show.show)
