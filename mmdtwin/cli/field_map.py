"""`mmdtwin field map`: pictures of a field, of what coils can do, and of the set-up."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import typer

from mmdtwin.errors import UserError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from mmdtwin.field import Evaluation, FieldModel
    from mmdtwin.geometry import Array
    from mmdtwin.sim.magnetics import CoilSystem

CELLS = 41  # of a slice, to a side
LEVELS = (10, 30, 50, 70, 90, 97)  # percentiles of the gradient that get a line
WIDE = 30  # ratio of largest to smallest from which colours go by the logarithm
ARROWS = 4  # one arrow every so many cells
PLANES = (("x", "y"), ("x", "z"), ("y", "z"))


def draw(
    system: Annotated[
        str, typer.Argument(help="Coil system, magnet or calibration: a name or a YAML file.")
    ] = "octomag-like",
    currents: Annotated[
        str | None, typer.Option(help="A, one per coil: 5,0,0,0,0,0,0,0. By default --field.")
    ] = None,
    field: Annotated[
        str, typer.Option(help="T to make with the coils at --at: x,y,z.")
    ] = "0,0,0.01",
    pose: Annotated[
        str, typer.Option(help="Of a magnet: x,y,z in m, then rotation vector in rad.")
    ] = "0,0,0.08,0,0,0",
    at: Annotated[str, typer.Option(help="Centre of the slices: x,y,z in m.")] = "0,0,0",
    radius: Annotated[
        float | None, typer.Option(min=1e-4, help="Half side of the slices, m.")
    ] = None,
    moment: Annotated[
        float, typer.Option(min=1e-12, help="Of the device, A m2, for the achievable forces.")
    ] = 6.4e-5,
    beyond: Annotated[
        bool, typer.Option(help="Draw coils' fields outside the workspace too (slow).")
    ] = False,
    interactive: Annotated[
        bool, typer.Option(help="Also write the 3-D view as a page for the browser.")
    ] = False,
    out: Annotated[Path, typer.Option(help="Folder of the pictures.")] = Path("runs/field"),
) -> None:
    """Draw slices of the field, what the coils can do, and the set-up in 3-D."""
    from mmdtwin.files import making
    from mmdtwin.sim.magnetics import CoilSystem
    from mmdtwin.sim.magnetics.load import load_field

    model = load_field(system, "magpylib" if beyond else "refuse")
    if beyond and not isinstance(model, CoilSystem):
        raise UserError(f"--beyond: {system} has no drawn coils to ask outside its workspace")
    centre = numbers("--at", at, 3)
    if model.saturation is None:
        inputs, about = numbers("--pose", pose, 6), f"pose {pose}"
    elif currents is not None:
        inputs, about = numbers("--currents", currents, model.n_inputs), f"currents {currents} A"
    else:
        inputs, about = _for_field(model, centre, numbers("--field", field, 3))
    half = radius or model.workspace_radius
    name = Path(system).stem
    with making(out):
        written = [out / "field.png"]
        save(draw_field(model.at(inputs), centre, half, f"{name}: {about}"), written[-1])
        if isinstance(model, CoilSystem):
            written.append(out / "capability.png")
            size = float(np.linalg.norm(numbers("--field", field, 3)))
            save(draw_capability(model, centre, moment, size), written[-1])
        if hasattr(model, "to_magpylib"):
            objects = model.to_magpylib(inputs)
            written.append(out / "setup.png")
            save(draw_setup(objects, name), written[-1])
            if interactive:
                written.append(out / "setup.html")
                write_interactive(objects, written[-1])
    typer.echo("wrote " + ", ".join(str(path) for path in written))


def numbers(option: str, text: str, n: int) -> Array:
    """Return n numbers of a comma-separated option.

    Raises
    ------
    UserError
        If there are not n finite ones.
    """
    try:
        values = np.array([float(part) for part in text.split(",")])
    except ValueError:
        values = np.empty(0)
    if values.shape != (n,) or not np.isfinite(values).all():
        raise UserError(f"{option} {text}: expected {n} finite numbers with commas between")
    return values


def _for_field(model: FieldModel, point: Array, field: Array) -> tuple[Array, str]:
    from mmdtwin.control import allocate
    from mmdtwin.sim.magnetics import CoilSystem

    limits = model.config.limits if isinstance(model, CoilSystem) else None
    made = allocate(model, point, field=field, limits=limits)
    size = np.round(made.field * 1e3, 2).tolist()
    return made.inputs, f"{size} mT at {np.round(point * 1e3, 2).tolist()} mm"


def slice_points(plane: int, centre: Array, radius: float) -> tuple[Array, Array]:
    """Return the coordinates (k,) m along a side, and the points (k, k, 3) m of a slice."""
    side = np.linspace(-radius, radius, CELLS)
    first, second = (("x", "y", "z").index(name) for name in PLANES[plane])
    points = np.tile(centre, (CELLS, CELLS, 1))
    points[..., first] += side[None, :]
    points[..., second] += side[:, None]
    return side, points


def evaluated(field_at: Evaluation, points: Array) -> tuple[Array, Array]:
    """Return field and gradient at points (..., 3) m; NaN where the model refuses a point."""
    from mmdtwin.errors import OutOfWorkspaceError

    flat = points.reshape(-1, 3)
    field, gradient = np.full((len(flat), 3), np.nan), np.full((len(flat), 3, 3), np.nan)
    for rows in np.array_split(np.arange(len(flat)), CELLS):
        try:
            field[rows], gradient[rows] = field_at(flat[rows])
        except OutOfWorkspaceError:
            for row in rows:
                try:
                    field[row], gradient[row] = (a[0] for a in field_at(flat[row : row + 1]))
                except OutOfWorkspaceError:
                    continue
    return field.reshape(points.shape), gradient.reshape(*points.shape, 3)


def draw_field(field_at: Evaluation, centre: Array, radius: float, title: str) -> Figure:
    """Draw |B| with arrows, and lines of equal |grad |B||, on three slices."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(13, 8.2), layout="constrained")
    axes: Any = figure.subplots(2, 3)
    figure.suptitle(title)
    for plane, names in enumerate(PLANES):
        side, points = slice_points(plane, centre, radius)
        field, gradient = evaluated(field_at, points)
        size = np.linalg.norm(field, axis=-1)
        # grad |B| = (grad B)^T B / |B|: the pull on a moment that lies along the field.
        safe = np.where(size > 0, size, 1.0)
        pull = np.linalg.norm(np.einsum("abij,abi->abj", gradient, field), axis=-1) / safe
        across, up = (("x", "y", "z").index(name) for name in names)
        top, bottom = axes[:, plane]
        _image(top, side, size * 1e3, "|B| (mT)")
        some = slice(ARROWS // 2, None, ARROWS)
        u, v = (field[some, some, i] / safe[some, some] for i in (across, up))
        top.quiver(side[some] * 1e3, side[some] * 1e3, u, v, color="white", pivot="mid", scale=18)
        _image(bottom, side, pull, "|grad |B|| (T/m)")
        levels = np.unique(np.nanpercentile(pull, LEVELS))
        lines = bottom.contour(side * 1e3, side * 1e3, pull, levels, colors="white", linewidths=0.8)
        bottom.clabel(lines, fontsize=7, fmt="%.2g")
        for ax in (top, bottom):
            ax.set(xlabel=f"{names[0]} (mm)", ylabel=f"{names[1]} (mm)")
    return figure


def draw_capability(coils: CoilSystem, point: Array, moment: float, field: float) -> Figure:
    """Draw how alike the field's directions are, and the forces that can be had at a point.

    The forces are for a moment (A m2) along x, once with the field free and once with `field` T
    held along the moment.
    """
    from matplotlib.figure import Figure

    from mmdtwin.control.capability import achievable_forces, isotropy

    figure = Figure(figsize=(13, 8.2), layout="constrained")
    grid = figure.add_gridspec(2, 6)
    radius, x = coils.workspace_radius, np.eye(3)[0]
    for plane, names in enumerate(PLANES):
        ax: Any = figure.add_subplot(grid[0, 2 * plane : 2 * plane + 2])
        side, points = slice_points(plane, np.zeros(3), radius)
        inside = np.linalg.norm(points, axis=-1) <= radius
        values = np.full(inside.shape, np.nan)
        values[inside] = isotropy(coils, points[inside])
        _image(ax, side, values, "isotropy: weakest / strongest direction")
        ax.set(xlabel=f"{names[0]} (mm)", ylabel=f"{names[1]} (mm)")
    cases = {"field free": None, f"{field * 1e3:g} mT held along it": field * x}
    for k, (name, held) in enumerate(cases.items()):
        solid: Any = figure.add_subplot(grid[1, 3 * k : 3 * k + 3], projection="3d")
        try:
            forces = achievable_forces(coils, point, moment * x, coils.config.limits, held)
            _hull(solid, forces * 1e6)
        except UserError as error:
            solid.text2D(0.1, 0.5, str(error), transform=solid.transAxes)
        solid.set(xlabel="Fx (uN)", ylabel="Fy (uN)", zlabel="Fz (uN)")
        solid.set_title(f"forces on {moment:.2g} A m2 along x, {name}")
    return figure


def draw_setup(objects: Any, title: str) -> Figure:
    """Draw Magpylib's own 3-D view, m."""
    import magpylib
    import matplotlib
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 8))
    axes: Any = figure.add_subplot(projection="3d")
    backend = matplotlib.get_backend()
    matplotlib.use("agg", force=True)  # no window, wherever this runs
    try:
        magpylib.show(*_parts(objects), backend="matplotlib", canvas=axes)
    finally:
        matplotlib.use(backend, force=True)
    legend = axes.get_legend()
    if legend is not None:
        legend.remove()
    axes.set_title(title)
    return figure


def write_interactive(objects: Any, path: Path) -> None:
    """Write Magpylib's 3-D view as a page that a browser turns about, with all it needs inside."""
    import magpylib

    from mmdtwin.files import replacing

    figure = magpylib.show(*_parts(objects), backend="plotly", return_fig=True)
    with replacing(path) as part:
        figure.write_html(part, include_plotlyjs=True)


def save(figure: Figure, path: Path) -> None:
    """Write a figure as PNG, whole or not at all."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    from mmdtwin.files import replacing

    FigureCanvasAgg(figure)
    with replacing(path) as part:
        figure.savefig(part, dpi=110, format="png")


def _parts(objects: Any) -> list[Any]:
    """A colour for each coil."""
    return list(getattr(objects, "children", None) or [objects])


def _image(ax: Any, side: Array, values: Array, label: str) -> None:
    from matplotlib.colors import LogNorm

    reach = side[[0, -1]] * 1e3
    least, most = np.nanmin(values), np.nanmax(values)
    norm = LogNorm(least, most) if 0 < WIDE * least < most else None
    image = ax.imshow(values, origin="lower", extent=(*reach, *reach), norm=norm)
    ax.figure.colorbar(image, ax=ax, label=label, shrink=0.85)


def _hull(ax: Any, forces: Array) -> None:
    from scipy.spatial import ConvexHull, QhullError

    try:
        hull = ConvexHull(forces)
    except QhullError:  # flat: too few coils for three directions
        ax.plot(*forces.T, ".")
        return
    ax.plot_trisurf(*forces.T, triangles=hull.simplices, alpha=0.6, linewidth=0.2, edgecolor="k")
    ax.set_box_aspect(np.ptp(forces, axis=0))
