"""`mmdtwin xray calibrate`: an imager from images of a bead phantom."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mmdtwin.cli.figures import save_figure
from mmdtwin.errors import UserError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from mmdtwin.config.bead_phantom import BeadPhantomConfig
    from mmdtwin.config.imager import ImagerConfig
    from mmdtwin.frame import Projection
    from mmdtwin.hardware.imager_calibration.calibration import ImagerCalibration, Session

DEG = 180 / math.pi
MILLI = 1e-3
PLASTIC = 0.05  # m of soft tissue, as the body of a simulated phantom and the table, assumed
SHOWN = 4  # images that the picture shows
DICOM = (".dcm", ".dicom", "")


def calibrate(
    images: Annotated[
        list[Path] | None,
        typer.Argument(help="Images of the phantom: 16-bit PNG, NumPy array or DICOM."),
    ] = None,
    phantom: Annotated[str, typer.Option(help="Bead phantom by name or path.")] = "helix-64",
    imager: Annotated[str, typer.Option(help="Imager by name or path.")] = "carm-fluoro",
    angles: Annotated[
        list[str] | None,
        typer.Option(
            help="Nominal gantry angles PRIMARY,SECONDARY in deg, once per image; by default the "
            "imager's, or the DICOM file's."
        ),
    ] = None,
    simulate: Annotated[
        int, typer.Option(min=0, help="Without images: let the twin make this many.")
    ] = 0,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the simulation.")] = 0,
    sid_tolerance: Annotated[
        float, typer.Option(help="Standard deviation of source to detector, m.")
    ] = 0.15e-3,
    principal_tolerance: Annotated[
        float, typer.Option(help="Standard deviation of the central ray on the detector, m.")
    ] = 0.15e-3,
    assignments: Annotated[
        list[str] | None,
        typer.Option("--set", help="Override of the imager, e.g. detector.pitch=2e-4."),
    ] = None,
    out: Annotated[
        Path, typer.Option(help="Calibration to write (YAML); a picture goes to .png beside.")
    ] = Path("imager-calibration.yaml"),
    json: Annotated[Path | None, typer.Option(help="Write the figures to this file.")] = None,
) -> None:
    """Find beads, and solve for pose, distance, principal point and distortion of an imager."""
    from mmdtwin.config.base import load, override, parse, read
    from mmdtwin.config.bead_phantom import BeadPhantomConfig
    from mmdtwin.config.imager import ImagerConfig
    from mmdtwin.files import writable_file, write_json
    from mmdtwin.hardware.imager_calibration.calibration import calibrate as solve
    from mmdtwin.hardware.imager_calibration.solve import Tolerance

    if bool(images) == bool(simulate):
        raise UserError("calibrate: give either images or --simulate N")
    if out.suffix.lower() not in (".yaml", ".yml"):
        raise UserError(f"--out {out}: the name must end in .yaml")
    writable_file(out, "--out")
    if json is not None:
        writable_file(json, "--json")
    tolerance = Tolerance(sid_tolerance, principal_tolerance)
    beads = load(BeadPhantomConfig, "bead_phantoms", phantom)
    data, where = read("imagers", imager)
    config = parse(ImagerConfig, override(data, assignments or []), where)
    if simulate:
        shots = _simulated(config, beads, simulate, seed)
    else:
        shots = _read_all(images or [], config, angles or [])
    session = solve(
        shots.images, shots.nominal, beads, tolerance, shots.names, f"imagers/{imager}", phantom
    )
    found = session.calibration
    found.save(out)
    picture = out.with_suffix(".png")
    _draw(picture, shots.images, session, beads.positions)
    figures: dict[str, Any] = found.record.model_dump(mode="json")
    figures["reprojection_mm"] = found.reprojection_at_isocentre / MILLI
    if shots.true is not None:
        figures["errors"] = against_truth(found, shots.true)
    _print(found, figures.get("errors"))
    typer.echo(f"wrote {found.record.id} to {out}, and {picture}")
    if json is not None:
        write_json(json, figures)


@dataclass(frozen=True, eq=False)
class _Shots:
    """Images (h, w) of a phantom, with their nominal geometry, and the true one if simulated."""

    images: list[NDArray]
    nominal: list[Projection]
    names: list[str]
    true: list[Projection] | None = None


def _simulated(config: ImagerConfig, beads: BeadPhantomConfig, count: int, seed: int) -> _Shots:
    """Let the twin make images."""
    import numpy as np

    from mmdtwin.config.imager import BackgroundConfig
    from mmdtwin.synth.xray.bead_images import random_session

    if config.background.kind not in ("flat", "ct"):  # a phantom stands before no patient
        plastic = BackgroundConfig(kind="flat", thickness=PLASTIC)
        config = config.model_copy(update={"background": plastic})
    made = random_session(config, beads, count, np.random.default_rng(seed))
    names = [f"simulated {i + 1}" for i in range(count)]
    return _Shots(list(made.images), made.nominal, names, made.true)


def _print(calibration: ImagerCalibration, errors: dict[str, float] | None) -> None:
    """Print a calibration, and its errors where the truth is known."""
    from rich.console import Console

    console = Console()
    for table in (_table(calibration), _images_table(calibration)):
        console.print(table)
    for name in calibration.record.released:
        typer.echo(f"{name} is not what the imager says: left free; check the imager's file")
    if errors is not None:
        typer.echo(
            f"errors      isocentre {errors['isocentre_mm']:.3f} mm, "
            f"turn {errors['turn_deg']:.4f} deg, "
            f"distortion {errors['distortion_px']:.3f} px (largest)"
        )


def against_truth(calibration: ImagerCalibration, true: list[Projection]) -> dict[str, float]:
    """Return the largest errors: of isocentres, mm, of turns, deg, of distortion, px."""
    from mmdtwin.hardware.imager_calibration.accuracy import accuracy

    worst = accuracy(calibration, true)
    return {
        "isocentre_mm": worst.isocentre / MILLI,
        "turn_deg": worst.turn * DEG,
        "distortion_px": worst.distortion,
    }


def _read_all(paths: list[Path], config: ImagerConfig, angles: list[str]) -> _Shots:
    """Read images and their nominal geometry."""
    if angles and len(angles) != len(paths):
        raise UserError(f"--angles: {len(angles)} given for {len(paths)} images")
    turns = [_angles(text) for text in angles]
    pictures, nominal = [], []
    for i, path in enumerate(paths):
        image, projection = _read(path, config, turns[i] if turns else None)
        pictures.append(image)
        nominal.append(projection)
    return _Shots(pictures, nominal, [path.name for path in paths])


def _angles(text: str) -> tuple[float, float]:
    try:
        primary, secondary = (float(part) / DEG for part in text.split(","))
    except ValueError:
        primary = secondary = math.nan
    if not (math.isfinite(primary) and math.isfinite(secondary)):
        raise UserError(f"--angles {text}: expected PRIMARY,SECONDARY in deg, e.g. 30,-15")
    return primary, secondary


def _read(
    path: Path, config: ImagerConfig, angles: tuple[float, float] | None
) -> tuple[NDArray, Projection]:
    """Read one image and its nominal geometry.

    The imager's file says of a PNG or an array what it is, and of a DICOM file what its tags
    leave out: distortion, and the angles where they are given.
    """
    import cv2
    import numpy as np

    from mmdtwin.frame import Projection

    if not path.is_file():
        raise UserError(f"{path}: no such file")
    nominal = Projection.from_config(config, *(angles or (None, None)))
    suffix = path.suffix.lower()
    if suffix in DICOM:
        from mmdtwin.synth.xray.dicom import read_xa

        series = read_xa(path)
        image = np.mean([frame.image for frame in series.frames], axis=0)
        told = series.frames[0].projection
        if angles is not None:
            told = Projection.from_carm(told.sid, told.sod, told.pitch, told.shape, *angles)
        return image, replace(told, distortion=_distortion_on(nominal, told))
    if suffix == ".png":
        image = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
        if image is None or image.ndim != 2:
            raise UserError(f"{path}: not a grey PNG image")
        return image, nominal
    if suffix == ".npy":
        try:
            return np.load(path, allow_pickle=False), nominal
        except (ValueError, OSError, EOFError) as error:
            raise UserError(f"{path}: not a NumPy array of numbers") from error
    raise UserError(f"{path}: allowed are .png, .npy and .dcm")


def _distortion_on(nominal: Projection, told: Projection) -> Any:
    """The imager's distortion on the grid of a file."""
    bent = nominal.distortion
    if bent is None:
        return None
    height, width = told.shape
    return replace(bent, radius=min(told.shape) / 2, centre=((width - 1) / 2, (height - 1) / 2))


def _table(calibration: ImagerCalibration) -> Any:
    import numpy as np
    from rich.table import Table
    from scipy.spatial.transform import Rotation

    r = calibration.record
    table = Table("figure", "value", "standard error")
    rms = calibration.reprojection_at_isocentre / MILLI
    table.add_row("reprojection", f"{r.reprojection:.3f} px, {rms:.4f} mm at the isocentre", "")
    table.add_row("source to detector", f"{r.sid / MILLI:.2f} mm", f"{r.sid_error / MILLI:.2f}")
    table.add_row("principal point", _row(r.principal, 2, "px"), _row(r.principal_error, 2, ""))
    if r.pincushion is not None and r.distortion_error is not None:
        for name, value, error in zip(
            ("pincushion", "S-distortion"), (r.pincushion, r.s_distortion), r.distortion_error,
            strict=True,
        ):  # fmt: skip
            table.add_row(name, f"{value:.5f}", f"{error:.5f}")
    T, errors = np.array(r.T_world_imager), np.sqrt(np.diag(r.covariance))
    turn = Rotation.from_matrix(T[:3, :3]).as_rotvec() * DEG
    table.add_row("gantry is shifted by", _row(T[:3, 3] / MILLI, 3, "mm"),
                  _row(errors[:3] / MILLI, 3, ""))  # fmt: skip
    table.add_row("and turned by", _row(turn, 4, "deg"), _row(errors[3:] * DEG, 4, ""))
    return table


def _images_table(calibration: ImagerCalibration) -> Any:
    from rich.table import Table

    table = Table("image", "beads", "outliers", "reprojection, px", "place, mm +-", "turn, deg +-")
    for image in calibration.record.images:
        shift = max(image.shift_error) / MILLI
        turn = max(image.turn_error) * DEG
        table.add_row(image.name, str(image.beads), str(image.outliers),
                      f"{image.reprojection:.3f}", f"{shift:.3f}", f"{turn:.4f}")  # fmt: skip
    return table


def _row(values: Any, digits: int, unit: str) -> str:
    return " ".join([", ".join(f"{value:.{digits}f}" for value in values), unit]).strip()


def _draw(path: Path, pictures: list[NDArray], session: Session, beads: Any) -> None:
    """Images with the beads that were found, and where the fit puts them."""
    import numpy as np
    from matplotlib.figure import Figure

    count = min(SHOWN, len(pictures))
    figure = Figure(figsize=(5.2 * count, 5.4), layout="constrained")
    parts = figure.subplots(1, count, squeeze=False)[0]
    for i, (axes, projection) in enumerate(
        zip(parts, session.calibration.projections, strict=False)
    ):
        view, kept = session.views[i], session.solution.kept[i]
        low, high = np.percentile(pictures[i], (0.5, 99.5))
        axes.imshow(pictures[i], cmap="gray", vmin=low, vmax=max(high, low + 1))
        height, width = projection.shape
        uv = projection.project(beads)
        axes.plot(*uv.T, "+", color="tab:blue", markersize=5, label="bead as fitted")
        for mask, colour, label in ((kept, "tab:green", "found"), (~kept, "tab:red", "outlier")):
            axes.plot(*view.pixels[mask].T, "o", color=colour, fillstyle="none", label=label)
        axes.set(xlim=(-0.5, width - 0.5), ylim=(height - 0.5, -0.5), title=view.name)
        axes.set_axis_off()
    parts[0].legend(fontsize=8, loc="upper left")
    save_figure(figure, path, dpi=90)
