"""`mmdtwin xray`: frames of a scene and their figures."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import numpy as np
import typer

from mmdtwin.errors import UserError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from mmdtwin.frame import Frame
    from mmdtwin.synth.xray import Detectability, Imager

app = typer.Typer(help="X-ray frames of a scene.", no_args_is_help=True)

WINDOW = (0.5, 99.5)  # percentiles of the image that become black and white


@app.callback()
def _group() -> None:
    """Keep `show` a named command while it is the only one."""


@app.command()
def show(
    scenario: Annotated[
        str, typer.Argument(help="Scenario by name or path.")
    ] = "soft-sheet-bifurcation",
    seed: Annotated[int, typer.Option(help="Seed of background and noise.", min=0)] = 0,
    out: Annotated[Path, typer.Option(help="PNG to write.")] = Path("xray.png"),
    assignments: Annotated[
        list[str] | None, typer.Option("--set", help="Override, e.g. imager.detector_dose=1e-7.")
    ] = None,
) -> None:
    """Expose one frame of a scene at its start, and print geometry, dose and visibility."""
    from mmdtwin.config import load_scenario
    from mmdtwin.seeding import stream
    from mmdtwin.sim import World
    from mmdtwin.synth.xray import Imager, detectability

    _check_png(out)
    resolved = load_scenario(scenario, assignments or [])
    imager = Imager(resolved.imager, stream(seed, "background"), stream(seed, "imaging"))
    world = World.from_config(resolved)
    frame = imager.render(world)
    write_png(out, frame.image)
    for line in describe(imager, frame, detectability(imager, world.solids())):
        typer.echo(line)
    typer.echo(f"wrote {out}")


def describe(imager: Imager, frame: Frame, figures: Detectability) -> list[str]:
    """Return the lines that `show` prints."""
    projection, pose, config = imager.projection, imager.background.pose, imager.config
    height, width = projection.shape
    primary, secondary = np.rad2deg([pose.primary, pose.secondary])
    lines = [
        f"geometry    source to detector {projection.sid * 1e3:.0f} mm, to isocentre "
        f"{projection.sod * 1e3:.0f} mm, gantry {primary:.1f} / {secondary:.1f} deg",
        f"image       {width} x {height} px, {projection.pixel_size * 1e3:.3f} mm at the isocentre",
        f"background  {pose.name}, {config.spectrum}, scatter to primary "
        f"{config.scatter_to_primary:g}",
        f"dose        {frame.dose * 1e9:.0f} nGy at the detector per frame",
    ]
    if figures.d_prime == 0.0:
        return [*lines, "device      not in the image"]
    return [
        *lines,
        f"device      Michelson contrast {figures.contrast:.4f} "
        f"({figures.contrast_primary:.4f} without scatter and blur), "
        f"{figures.quanta:.0f} quanta per pixel, d' {figures.d_prime:.1f}",
    ]


def write_png(path: Path, image: NDArray[np.uint16]) -> None:
    """Write an image, windowed to 8 bits, whole or not at all.

    Raises
    ------
    UserError
        If the path cannot be written.
    """
    import cv2

    from mmdtwin.files import replacing

    _check_png(path)
    # Logarithmic, as monitors show radiographs: thickness becomes grey.
    depth = np.log1p(image.astype(np.float32))
    low, high = np.percentile(depth, WINDOW)
    shown = np.clip((depth - low) / max(high - low, 1e-6), 0.0, 1.0) * 255.0
    try:
        with replacing(path) as part:
            part.write_bytes(cv2.imencode(".png", np.rint(shown).astype(np.uint8))[1].tobytes())
    except OSError as error:
        raise _unwritable(path, error.strerror or "unknown reason") from error


def _check_png(path: Path) -> None:
    if path.suffix.lower() != ".png":
        raise UserError(f"--out {path}: the image is written as PNG; use a name ending in .png")
    if path.is_dir():
        raise _unwritable(path, "is a folder")
    if not path.parent.is_dir():
        raise _unwritable(path, f"no folder {path.parent}")


def _unwritable(path: Path, reason: str) -> UserError:
    return UserError(f"--out {path}: cannot write there ({reason}); name a file you can write")
