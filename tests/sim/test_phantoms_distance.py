"""Signed distance and its direction: on the facets of the shipped phantoms, and in a tube."""

import numpy as np
import pytest

from mmdtwin.config import PhantomConfig, load
from mmdtwin.sim.phantoms import build_vessel
from mmdtwin.sim.phantoms.grid import Grid, distance_and_normal

AREA = "vessels"


@pytest.mark.parametrize("name", ["bifurcation", "narrow-fork", "ct-aorta"])
def test_facets_lie_within_10_um_of_the_signed_distance(name, tmp_path, monkeypatch, claim) -> None:
    """The mesh is the wall; contact with a device asks for 10 um."""
    monkeypatch.setenv("MMDTWIN_CACHE", str(tmp_path))
    vessel = build_vessel(load(PhantomConfig, "phantoms", name))
    weights = np.random.default_rng(7).dirichlet([1, 1, 1], (len(vessel.faces), 8))
    points = np.einsum("fkc,fcd->fkd", weights, vessel.surface.corners).reshape(-1, 3)
    farthest = float(np.abs(vessel.sdf(points)).max())
    assert claim(
        "the signed distance is zero on the facets",
        parameters=f"`{name}`, 8 random points on each of {len(vessel.faces)} facets",
        reference="the triangle mesh, which is the wall that bodies meet",
        acceptance="10 um: half of the penetration that contact may have",
        result=f"{farthest * 1e6:.1f} um",
        holds=farthest < 10e-6,
        limits="deep in the lumen, on its axis, the distance reads up to 0.9 voxels low",
    )
    surface = vessel.surface
    assert claim(
        "the wall is closed, in one piece, without handles, and faces outwards",
        parameters=f"`{name}`, {len(vessel.faces)} triangles",
        reference="every edge in two triangles that agree; Euler number; enclosed volume",
        acceptance="watertight, no handles, volume > 0: a printer and a contact need no less",
        result=f"watertight: {surface.watertight}, handles: {surface.handles}, "
        f"volume {surface.volume * 1e9:.0f} mm3",
        holds=surface.watertight and surface.handles == 0 and surface.volume > 0,
    )
    again = build_vessel(load(PhantomConfig, "phantoms", name))  # from the cache
    assert np.array_equal(again.sdf(points[:1000]), vessel.sdf(points[:1000]))


def test_normals_of_a_tube_point_to_its_axis() -> None:
    radius, voxel = 1.5, 0.22
    grid = Grid.around([-3.0, -3.0, -3.0], [3.0, 3.0, 3.0], voxel, 0.0)
    nodes = grid.nodes(np.nonzero(np.ones(grid.values.shape, bool)))
    exact = radius - np.hypot(nodes[:, 0], nodes[:, 1])
    grid = Grid(exact.reshape(grid.values.shape).astype(np.float32), grid.origin, voxel)
    rng = np.random.default_rng(0)
    angle, r = rng.uniform(0, 2 * np.pi, 500), rng.uniform(0.5, 2.0, 500)
    points = np.stack([r * np.cos(angle), r * np.sin(angle), rng.uniform(-2, 2, 500)], axis=1)
    distance, normals = np.empty(500), np.empty((500, 3))
    distance_and_normal(*grid.arrays, points, distance, normals)
    inwards = -np.stack([np.cos(angle), np.sin(angle), 0 * angle], axis=1)
    # Linear interpolation errs by h^2/8r in each direction, central differences by about (h/r)^2/4.
    assert np.abs(distance - (radius - r)).max() < 2 * voxel**2 / (8 * 0.5)
    wide = r > 1.0
    assert np.einsum("ij,ij->i", normals, inwards)[wide].min() > np.cos((voxel / 1.0) ** 2)
    assert np.allclose(np.linalg.norm(normals, axis=1), 1.0)
