"""`mmdtwin xray show`: one frame of a scene and its figures."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import typer

from mmdtwin.cli.figures import save_figure
from mmdtwin.errors import UserError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from mmdtwin.frame import Frame
    from mmdtwin.geometry import Array
    from mmdtwin.sim.scene import Scene
    from mmdtwin.synth.xray import Detectability, Imager
    from mmdtwin.synth.xray.measure import Visibility

WINDOW = (0.5, 99.5)  # percentiles of the image that become black and white
REACH = 4.0e-3  # m to each side of the device that its profile and its close-up show
FRAMES = (".png", ".npy", ".dcm")


def show(
    scenario: Annotated[
        str, typer.Argument(help="Scenario by name or path.")
    ] = "soft-sheet-bifurcation",
    seed: Annotated[int, typer.Option(help="Seed of background and noise.", min=0)] = 0,
    imager: Annotated[str | None, typer.Option(help="Another imager, by name or path.")] = None,
    out: Annotated[Path, typer.Option(help="PNG to write: image, close-up and profile.")] = Path(
        "xray.png"
    ),
    frame: Annotated[
        Path | None, typer.Option(help="Also write the frame: .png (16 bit), .npy or .dcm.")
    ] = None,
    assignments: Annotated[
        list[str] | None,
        typer.Option("--set", help="Override, e.g. imager.exposure.detector_dose=1e-7."),
    ] = None,
) -> None:
    """Expose one frame of a scene at its start: picture, profile, geometry, dose, visibility."""
    from mmdtwin.config import load_scenario
    from mmdtwin.seeding import stream
    from mmdtwin.sim import World
    from mmdtwin.synth.xray import Imager, detectability
    from mmdtwin.synth.xray.measure import shadow, visibility

    check_writable(out, "--out", (".png",))
    if frame is not None:
        check_writable(frame, "--frame", FRAMES)
    resolved = load_scenario(scenario, assignments or [], imager=imager)
    world = World.from_config(resolved)
    scene = world.scene()
    used = Imager(resolved.imager, stream(seed, "background"), stream(seed, "imaging"))
    shot = used.render(world)
    measured = visibility(shot.image, shadow(scene.device, used.projection))
    for line in describe(used, shot, detectability(used, scene.device), measured):
        typer.echo(line)
    save(out, lambda path: _draw(path, used, shot, scene))
    typer.echo(f"wrote {out}")
    if frame is not None:
        write_frame(frame, shot, used)
        typer.echo(f"wrote {frame}")


def describe(
    imager: Imager, frame: Frame, figures: Detectability, measured: Visibility | None
) -> list[str]:
    """Return the lines that `show` prints."""
    projection, pose, config = imager.projection, imager.background.pose, imager.config
    height, width = projection.shape
    primary, secondary = np.rad2deg([pose.primary, pose.secondary])
    ratio = float(imager.scatter.mean() / imager.primary.mean())
    lines = [
        f"geometry    source to detector {projection.sid * 1e3:.0f} mm, to isocentre "
        f"{projection.sod * 1e3:.0f} mm, gantry {primary:.1f} / {secondary:.1f} deg",
        f"image       {width} x {height} px, {projection.pixel_size * 1e3:.3f} mm at the isocentre",
        f"background  {pose.name}, {config.spectrum}, scatter to primary "
        f"{ratio:.2f} behind the grid",
        f"dose        {frame.dose * 1e9:.0f} nGy at the detector per frame, "
        f"{frame.reference_kerma * 1e6:.2f} uGy at the entrance reference point, "
        f"{frame.dap * 1e6:.3f} uGy m2",
    ]
    if figures.d_prime == 0.0 or measured is None:
        return [*lines, "device      not in the image"]
    return [
        *lines,
        f"device      Michelson contrast {figures.contrast:.4f} "
        f"({figures.contrast_primary:.4f} without scatter and blur), "
        f"{figures.quanta:.0f} quanta per pixel, d' {figures.d_prime:.1f}",
        f"measured    Michelson contrast {measured.contrast:.4f}, contrast-to-noise ratio "
        f"{measured.cnr:.2f} over {measured.pixels} px",
    ]


def write_frame(path: Path, frame: Frame, imager: Imager) -> None:
    """Write the frame as it is: 16-bit PNG, NumPy array or DICOM, by suffix."""
    save(path, lambda place: _write_frame(place, frame, imager))


def _write_frame(path: Path, frame: Frame, imager: Imager) -> None:
    import cv2

    from mmdtwin.files import replacing

    if path.suffix == ".dcm":
        from mmdtwin.synth.xray.dicom import write_xa

        write_xa(path, [frame], imager.config)
        return
    with replacing(path) as part:
        if path.suffix == ".npy":
            np.save(part, frame.image, allow_pickle=False)
        else:
            part.write_bytes(cv2.imencode(".png", frame.image)[1].tobytes())


def save(path: Path, write: Callable[[Path], None]) -> None:
    """Call `write`, which leaves its file whole or absent, with `path`.

    Raises
    ------
    UserError
        If it cannot be written.
    """
    try:
        write(path)
    except OSError as error:
        raise _unwritable(path, error.strerror or "unknown reason") from error


def check_writable(path: Path, option: str, suffixes: tuple[str, ...]) -> None:
    """Check name and place of an output.

    Raises
    ------
    UserError
        If it has another suffix, is a folder, or its folder is not there.
    """
    if path.suffix.lower() not in suffixes:
        raise UserError(f"{option} {path}: the name must end in {' or '.join(suffixes)}")
    if path.is_dir():
        raise _unwritable(path, "is a folder")
    if not path.parent.is_dir():
        raise _unwritable(path, f"no folder {path.parent}")


def _unwritable(path: Path, reason: str) -> UserError:
    return UserError(f"{path}: cannot write there ({reason}); name a file you can write")


def _windowed(image: NDArray) -> NDArray[np.float32]:
    """Logarithmic, as monitors show radiographs: thickness becomes grey, 0-1."""
    depth = np.log1p(image.astype(np.float32))
    low, high = np.percentile(depth, WINDOW)
    return np.clip((depth - low) / max(high - low, 1e-6), 0.0, 1.0)


def _draw(path: Path, imager: Imager, frame: Frame, scene: Scene) -> None:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(13, 4.4), layout="constrained")
    whole, close, across = figure.subplots(1, 3, width_ratios=(1, 1, 1.3))
    whole.imshow(_windowed(frame.image), cmap="gray", interpolation="nearest")
    whole.set_title("frame")
    points = np.concatenate([_extent(body) for body in scene.device])
    uv = imager.projection.project(points)
    centre = uv.mean(axis=0)
    reach = REACH / imager.projection.pixel_size
    _, _, axes = np.linalg.svd(uv - centre)
    half = float(np.abs((uv - centre) @ axes[1]).max()) + reach
    start, end = centre - half * axes[1], centre + half * axes[1]
    close.imshow(_windowed(frame.image), cmap="gray", interpolation="nearest")
    close.plot(*np.stack([start, end], axis=1), color="tab:red", linewidth=0.8)
    wide = float(np.abs((uv - centre) @ axes[0]).max()) + reach
    close.set(
        xlim=(centre[0] - wide, centre[0] + wide), ylim=(centre[1] + wide, centre[1] - wide),
        title="close-up and line of the profile",
    )  # fmt: skip
    _draw_profile(across, imager, frame, scene, start, end)
    save_figure(figure, path)


def _draw_profile(
    axes: Any, imager: Imager, frame: Frame, scene: Scene, start: Array, end: Array
) -> None:
    from mmdtwin.synth.xray.measure import profile

    length = float(np.linalg.norm(end - start))
    samples = max(2, round(4 * length))
    along = np.linspace(-0.5, 0.5, samples) * length * imager.projection.pixel_size * 1e3
    for image, label, style in (
        (frame.image, "frame", "-"),
        (imager.expected(scene.device), "without noise", "-"),
        (imager.expected(), "without noise and device", "--"),
    ):
        values = profile(image, start, end, samples)
        axes.plot(along, values, style, label=label, linewidth=0.8 if label == "frame" else 1.4)
    axes.set(xlabel="mm at the isocentre, across the device", ylabel="grey", title="profile")
    axes.legend(fontsize=8)


def _extent(body: Any) -> Array:
    """Points (n, 3) m on a body, enough to know its place and its long axis."""
    for name in ("vertices", "points"):
        if hasattr(body, name):
            return np.asarray(getattr(body, name))
    sides = body.rotation * body.half_extents[:, None, :]
    return np.concatenate([body.centre[:, None] + s * sides.swapaxes(1, 2) for s in (-1.0, 1.0)]
                          ).reshape(-1, 3)  # fmt: skip
