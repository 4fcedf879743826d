"""Pictures of fields, of what coils can do, and of set-ups."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from textwrap import fill
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from mmdtwin.errors import OutOfWorkspaceError, UserError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from mmdtwin.field import FieldModel
    from mmdtwin.geometry import Array

CELLS = 41  # of a slice, to a side
LEVELS = (10, 30, 50, 70, 90, 97)  # percentiles of the gradient that get a line
FLAT = 1e-6  # of the largest extent: a hull thinner than that is rounding
FAINT = 1e-6  # of the largest: smaller values are rounding, and do not stretch the colours
WIDE = 30  # ratio of largest to smallest from which colours go by the logarithm
ARROWS = 4  # one arrow every so many cells
PLANES = (("x", "y"), ("x", "z"), ("y", "z"))


@dataclass(frozen=True, eq=False)
class Slice:
    """A square of CELLS x CELLS points along two axes, of half side `radius` m about a centre."""

    plane: int  # of PLANES
    centre: Array
    radius: float

    @property
    def axes(self) -> tuple[int, int]:
        """Numbers of the axes to the right and up."""
        first, second = ("xyz".index(name) for name in PLANES[self.plane])
        return first, second

    def along(self, axis: int) -> Array:
        """Return the coordinates (CELLS,) m along one of them."""
        side: Array = self.centre[axis] + np.linspace(-self.radius, self.radius, CELLS)
        return side

    @property
    def points(self) -> Array:
        """(CELLS, CELLS, 3) m; columns go to the right, rows up."""
        first, second = self.axes
        points = np.tile(self.centre, (CELLS, CELLS, 1))
        points[..., first], points[..., second] = np.meshgrid(self.along(first), self.along(second))
        return points


def evaluated(
    ask: Callable[[Array], tuple[Array, ...]], points: Array, shapes: tuple[tuple[int, ...], ...]
) -> list[Array]:
    """Return what a function of points (n, 3) answers at points (..., 3) m, of such shapes.

    NaN where it refuses a point as outside the workspace.
    """
    flat = points.reshape(-1, 3)
    results = [np.full((len(flat), *shape), np.nan) for shape in shapes]

    def ask_for(rows: NDArray[np.intp]) -> None:
        try:
            answers = ask(flat[rows])
        except OutOfWorkspaceError:
            for half in np.array_split(rows, 2) if len(rows) > 1 else ():
                ask_for(half)
            return
        for result, answer in zip(results, answers, strict=True):
            result[rows] = answer

    for rows in np.array_split(np.arange(len(flat)), CELLS):
        ask_for(rows)
    return [result.reshape(*points.shape[:-1], *result.shape[1:]) for result in results]


def draw_field(slices: list[Slice], values: list[list[Array]], title: str) -> Figure:
    """Draw |B| with arrows, and lines of equal |grad |B||, on three slices.

    `values` are the field (CELLS, CELLS, 3) T and gradient (CELLS, CELLS, 3, 3) T/m on each.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(13, 8.2), layout="constrained")
    axes: Any = figure.subplots(2, 3)
    figure.suptitle(title)
    for cut, (field, gradient) in zip(slices, values, strict=True):
        size = np.linalg.norm(field, axis=-1)
        # grad |B| = (grad B)^T B / |B|: the pull on a moment that lies along the field.
        safe = np.where(size > 0, size, 1.0)
        pull = np.linalg.norm(np.einsum("abij,abi->abj", gradient, field), axis=-1) / safe
        top, bottom = axes[:, cut.plane]
        _image(top, cut, size * 1e3, "|B| (mT)")
        _image(bottom, cut, pull, "|grad |B|| (T/m)")
        across, up = (cut.along(axis) * 1e3 for axis in cut.axes)
        some = slice(ARROWS // 2, None, ARROWS)
        u, v = (field[some, some, axis] / safe[some, some] for axis in cut.axes)
        top.quiver(across[some], up[some], u, v, color="white", pivot="mid", scale=18)
        known = pull[np.isfinite(pull)]
        levels = np.unique(np.percentile(known, LEVELS)) if known.size else known
        if len(levels) > 1:  # else all alike
            lines = bottom.contour(across, up, pull, levels, colors="white", linewidths=0.8)
            bottom.clabel(lines, fontsize=7, fmt="%.2g")
    return figure


def draw_capability(
    model: FieldModel, centre: Array, radius: float, cases: dict[str, Callable[[], Array]]
) -> Figure:
    """Draw how alike the field's directions are on three slices, and the forces of `cases`."""
    from matplotlib.figure import Figure

    from mmdtwin.control.capability import isotropy

    rows = 2 if cases else 1
    figure = Figure(figsize=(13, 4.1 * rows), layout="constrained")
    grid = figure.add_gridspec(rows, 6)
    for plane in range(3):
        ax: Any = figure.add_subplot(grid[0, 2 * plane : 2 * plane + 2])
        cut = Slice(plane, centre, radius)
        (values,) = evaluated(lambda p: (isotropy(model, p),), cut.points, ((),))
        _image(ax, cut, values, "isotropy: weakest / strongest direction")
    for k, (title, forces) in enumerate(cases.items()):
        solid: Any = figure.add_subplot(grid[1, 3 * k : 3 * k + 3], projection="3d")
        try:
            _hull(solid, forces() * 1e6)
        except UserError as error:
            text = solid.text2D(0.0, 0.5, fill(str(error), 60), transform=solid.transAxes)
            text.set_in_layout(False)  # else a long one leaves no room for the axes
        solid.set(xlabel="Fx (uN)", ylabel="Fy (uN)", zlabel="Fz (uN)")
        solid.set_title(title)
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
        magpylib.show(*_parts(objects), backend="matplotlib", canvas=axes, units_length="m")
    finally:
        matplotlib.use(backend, force=True)
    legend = axes.get_legend()
    if legend is not None:
        legend.remove()
    axes.set(title=title, xlabel="x (m)", ylabel="y (m)", zlabel="z (m)", aspect="equal")
    return figure


def write_interactive(objects: Any, path: Path) -> None:
    """Write Magpylib's 3-D view as a page that a browser turns about, with all it needs inside."""
    import magpylib

    from mmdtwin.files import replacing

    figure = magpylib.show(*_parts(objects), backend="plotly", return_fig=True)
    with replacing(path) as part:
        figure.write_html(part, include_plotlyjs=True)


def _parts(objects: Any) -> list[Any]:
    """A colour for each coil."""
    return list(getattr(objects, "children", None) or [objects])


def _image(ax: Any, cut: Slice, values: Array, label: str) -> None:
    from matplotlib.colors import LogNorm

    extent = [float(cut.along(axis)[k]) * 1e3 for axis in cut.axes for k in (0, -1)]
    names = PLANES[cut.plane]
    ax.set(xlabel=f"{names[0]} (mm)", ylabel=f"{names[1]} (mm)")
    known = values[np.isfinite(values)]
    if not known.size:
        ax.set(xlim=extent[:2], ylim=extent[2:], aspect="equal")
        ax.text(0.5, 0.5, "outside the workspace", ha="center", transform=ax.transAxes)
        return
    most = float(known.max())
    least = max(float(known.min()), FAINT * most)
    norm = LogNorm(least, most) if 0 < WIDE * least < most else None
    image = ax.imshow(values, origin="lower", extent=extent, norm=norm)
    ax.figure.colorbar(image, ax=ax, label=label, shrink=0.85)


def _hull(ax: Any, forces: Array) -> None:
    """Draw the hull of forces (k, 3), with equal axes; a line or plane where it is flat."""
    from scipy.spatial import ConvexHull

    reach = max(float(np.abs(forces).max()), np.finfo(float).tiny)
    sizes = np.linalg.svd(forces - forces.mean(axis=0), compute_uv=False)
    if sizes[2] > FLAT * sizes[0]:
        triangles = ConvexHull(forces).simplices
        ax.plot_trisurf(*forces.T, triangles=triangles, alpha=0.6, linewidth=0.2, edgecolor="k")
    else:  # too few coils for three directions
        what = "plane" if sizes[1] > FLAT * sizes[0] else "line"
        shape = what if sizes[0] > FLAT * reach else "point"
        ax.plot(*np.where(np.abs(forces) > FLAT * reach, forces, 0.0).T, ".-")
        ax.text2D(0.0, 0.95, f"only a {shape}: too few coils for more", transform=ax.transAxes)
    ax.set(xlim=(-reach, reach), ylim=(-reach, reach), zlim=(-reach, reach))
    ax.set_box_aspect((1, 1, 1))
    ax.locator_params(nbins=5)
