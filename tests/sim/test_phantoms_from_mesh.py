"""Phantoms from a user's mesh, what is refused, and solids for a printer."""

import csv
from pathlib import Path

import numpy as np
import pytest
import trimesh
import yaml
from typer.testing import CliRunner

from mmdtwin.cli.phantom import app
from mmdtwin.config import PhantomConfig, load, load_scenario
from mmdtwin.errors import ConfigError, UserError
from mmdtwin.sim.phantoms import build_vessel
from mmdtwin.sim.phantoms.printing import Connector, printable
from mmdtwin.sim.phantoms.wall_file import read_wall

RADIUS, LENGTH = 2.0, 24.0  # mm


def run(*arguments: object) -> str:
    result = CliRunner().invoke(app, [str(a) for a in arguments], catch_exceptions=False)
    assert result.exit_code == 0
    return result.output


def pipe() -> trimesh.Trimesh:
    """A capsule in mm whose triangles are long and thin, off the axes."""
    mesh = trimesh.creation.capsule(height=LENGTH, radius=RADIUS, count=[24, 48])
    mesh.apply_transform(trimesh.transformations.rotation_matrix(0.7, [1.0, 2.0, 0.5]))
    return mesh


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MMDTWIN_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(("suffix", "units", "factor"), [("stl", "mm", 1.0), ("obj", "m", 1e-3)])
def test_a_capsule_becomes_a_phantom(folder: Path, suffix: str, units: str, factor: float) -> None:
    mesh = pipe()
    mesh.apply_scale(factor)
    mesh.export(folder / f"wall.{suffix}")
    run("from-mesh", f"wall.{suffix}", "--units", units, "--voxel", "0.25e-3", "--out", "my.yaml")
    vessel = build_vessel(load(PhantomConfig, "phantoms", folder / "my.yaml"))
    assert vessel.surface.watertight
    assert vessel.surface.volume == pytest.approx(pipe().volume * 1e-9, rel=1e-6)
    (branch,) = vessel.map.branches.values()
    # It ends a radius before the caps, where the capsule's axis does; half a voxel at each end.
    assert branch.length == pytest.approx(LENGTH * 1e-3, abs=0.3e-3)
    # 48 sides: the inscribed circle is R cos(pi/48), 4 um less; the rest is half a voxel at an end.
    assert branch.radius.min() > 0.93 * RADIUS * 1e-3
    assert branch.radius.max() <= RADIUS * 1e-3
    # The mesh is the wall: on its facets the distance is nothing.
    weights = np.random.default_rng(0).dirichlet([1, 1, 1], (len(vessel.faces), 10))
    on_wall = np.einsum("fkc,fcd->fkd", weights, vessel.surface.corners).reshape(-1, 3)
    assert np.abs(vessel.sdf(on_wall)).max() < 10e-6


def test_distance_and_direction_agree_with_another_program(folder: Path) -> None:
    pipe().export(folder / "wall.stl")
    run("from-mesh", "wall.stl", "--units", "mm", "--voxel", "0.25e-3", "--out", "my.yaml")
    vessel = build_vessel(load(PhantomConfig, "phantoms", folder / "my.yaml"))
    mesh = trimesh.Trimesh(vessel.vertices, vessel.faces, process=False)
    rng = np.random.default_rng(1)
    points = rng.uniform(vessel.vertices.min(axis=0), vessel.vertices.max(axis=0), (400, 3))
    triangles = mesh.triangles
    feet, face = np.empty_like(points), np.empty(len(points), int)
    for n, point in enumerate(points):
        each = trimesh.triangles.closest_point(triangles, np.tile(point, (len(triangles), 1)))
        face[n] = np.linalg.norm(each - point, axis=1).argmin()
        feet[n] = each[face[n]]
    exact = np.linalg.norm(points - feet, axis=1)
    distance, normals = vessel.sdf_gradient(points)
    outwards = np.einsum("ij,ij->i", points - feet, mesh.face_normals[face])
    assert np.array_equal(distance > 0, outwards < 0)
    close = exact < 0.6e-3  # beyond 1 mm outside it reads 1 mm
    # Linear interpolation over a voxel h = 0.25 mm: h^2/8R = 4 um, twice that at the caps.
    assert np.abs(np.abs(distance) - exact)[close].max() < 16e-6
    clear = close & (exact > 0.1e-3)
    towards = (points - feet) / exact[:, None] * np.sign(distance)[:, None]
    # Central differences over a voxel h err by (h/R)^2; where facets meet, these turn by 7.5 deg
    # both along and across the caps.
    assert np.einsum("ij,ij->i", towards, normals)[clear].min() > np.cos(np.radians(7.5 * 2**0.5))


def test_a_scenario_names_it_by_its_file_from_anywhere(folder: Path, monkeypatch) -> None:
    (folder / "mine").mkdir()
    pipe().export(folder / "wall.stl")
    run("from-mesh", "wall.stl", "--units", "mm", "--voxel", "0.3e-3", "--out", "mine/my.yaml")
    before = load(PhantomConfig, "phantoms", folder / "mine/my.yaml").model_dump()
    (folder / "mine").rename(folder / "moved")
    monkeypatch.chdir("/")
    scenario = load_scenario("soft-sheet-bifurcation", phantom=str(folder / "moved/my.yaml"))
    assert len(build_vessel(scenario.phantom).map.ends) == 2
    assert scenario.phantom.model_dump() == before  # nothing of it, so no hash, knows the folder


def cylinder() -> trimesh.Trimesh:
    """A cylinder in mm with flat caps and many coplanar triangles that share a corner."""
    return trimesh.creation.cylinder(RADIUS, 40.0, sections=48).subdivide_to_size(2.0)


@pytest.mark.parametrize("units", ["mm", "m", "mm, turned", "mm, far off"])
def test_coplanar_neighbours_are_no_crossing(folder: Path, units: str) -> None:
    mesh = cylinder()
    if units == "m":
        mesh.apply_scale(1e-3)
    if "turned" in units:
        mesh.apply_transform(trimesh.transformations.rotation_matrix(0.7, [1.0, 2.0, 0.5]))
    if "far" in units:  # as in a scanner's frame, where float32 is coarse
        mesh.apply_translation([310.0, -170.0, 450.0])
    mesh.export(folder / "wall.stl")
    surface = read_wall(folder / "wall.stl", units.split(",")[0])
    assert surface.volume == pytest.approx(cylinder().volume * 1e-9, rel=1e-4)


def test_a_centreline_ends_where_a_flat_cap_takes_away_room(folder: Path) -> None:
    mesh = cylinder()
    mesh.apply_transform(trimesh.transformations.rotation_matrix(0.7, [1.0, 2.0, 0.5]))
    mesh.export(folder / "wall.stl")
    run("from-mesh", "wall.stl", "--units", "mm", "--voxel", "0.4e-3", "--out", "my.yaml")
    (branch,) = build_vessel(
        load(PhantomConfig, "phantoms", folder / "my.yaml")
    ).map.branches.values()
    # Half a voxel off the middle, 0.2 mm, takes a tenth; it took a sixth and more before the cut.
    assert branch.radius.min() > 0.9 * RADIUS * 1e-3
    assert 40.0 - 4 * RADIUS < branch.length * 1e3 <= 40.0 - 1.8 * RADIUS


@pytest.mark.parametrize(
    ("mesh", "message"),
    [
        (trimesh.creation.torus(12.0, 2.0), r"wall\.stl: has 1 loops, but a vessel map is a tree"),
        (
            trimesh.creation.icosphere(3, 4.0),
            r"wall\.stl: .*(not longer than it is wide|times as long)",
        ),
    ],
)
def test_shapes_that_are_no_tree_are_refused(folder: Path, mesh, message: str) -> None:
    mesh.export(folder / "wall.stl")
    with pytest.raises(UserError, match=message):
        run("from-mesh", "wall.stl", "--units", "mm", "--voxel", "0.5e-3")
    assert sorted(p.name for p in folder.iterdir() if p.name != "cache") == ["wall.stl"]


def test_a_mesh_is_not_overwritten_by_its_phantom(folder: Path) -> None:
    pipe().export(folder / "artery.obj")
    before = (folder / "artery.obj").read_bytes()
    with pytest.raises(UserError, match=r"--out artery\.yaml: would overwrite artery\.obj"):
        run("from-mesh", "artery.obj", "--units", "mm", "--out", "artery.yaml")
    assert (folder / "artery.obj").read_bytes() == before


def broken(kind: str) -> trimesh.Trimesh:
    mesh, other = pipe(), pipe()
    if kind == "leaky":
        mesh.update_faces(np.arange(len(mesh.faces)) > 3)
    elif kind == "inside out":
        mesh.invert()
    elif kind == "one facet turned":
        mesh.faces[5] = mesh.faces[5][::-1]
    elif kind == "two pieces":
        other.apply_translation([20.0, 0.0, 0.0])
        mesh = mesh + other
    elif kind == "tubes through each other":
        # One closed surface: the second tube hangs on the first by a facet's corners.
        other.apply_transform(trimesh.transformations.rotation_matrix(1.3, [0.0, 1.0, 0.0]))
        mesh = mesh + other
    elif kind == "crossing itself":
        vertex = int(np.argmax(mesh.vertices @ [1.0, 0.0, 0.0]))
        mesh.vertices[vertex] -= [3.0 * RADIUS, 0.0, 0.0]
    return mesh


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("leaky", r"wall\.stl: the wall leaks: \d+ edges .* close its holes"),
        ("inside out", r"wall\.stl: is inside out: .* flip them"),
        ("one facet turned", r"wall\.stl: neighbouring triangles disagree"),
        ("two pieces", r"wall\.stl: is in 2 pieces .* join the branches"),
        ("tubes through each other", r"wall\.stl: (is in 2 pieces|the wall intersects itself)"),
        ("crossing itself", r"wall\.stl: the wall intersects itself.*mm; unite"),
    ],
)
def test_walls_that_are_none_are_refused(folder: Path, kind: str, message: str) -> None:
    broken(kind).export(folder / "wall.stl")
    with pytest.raises(UserError, match=message):
        run("from-mesh", "wall.stl", "--units", "mm")
    assert sorted(p.name for p in folder.iterdir()) == ["wall.stl"]


@pytest.mark.parametrize(("units", "hint"), [("m", "mm"), ("um", "mm or inch|cm or mm|mm")])
def test_units_a_thousand_times_off_are_noticed(folder: Path, units: str, hint: str) -> None:
    pipe().export(folder / "wall.stl")
    with pytest.raises(UserError, match=rf"with units {units} it is .*are its units .*({hint})"):
        run("from-mesh", "wall.stl", "--units", units)


def test_files_that_are_no_meshes_are_refused(folder: Path) -> None:
    (folder / "wall.stl").write_text("solid nothing\nendsolid\n")
    (folder / "wall.step").write_text("")
    for name, message in (
        ("wall.stl", "no triangles|cannot be read"),
        ("wall.step", r"allowed: \.stl, \.obj, \.ply"),
        ("none.stl", "no such mesh file"),
    ):
        with pytest.raises(UserError, match=message):
            run("from-mesh", name, "--units", "mm")


@pytest.fixture
def phantom(folder: Path) -> Path:
    pipe().export(folder / "wall.stl")
    run("from-mesh", "wall.stl", "--units", "mm", "--voxel", "0.4e-3", "--out", "my.yaml")
    return folder / "my.yaml"


def test_an_edited_phantom_is_checked_again(phantom: Path) -> None:
    data = yaml.safe_load(phantom.read_text())
    table = phantom.with_suffix(".csv")
    rows = list(csv.reader(table.read_text().splitlines()))

    def with_table(edit) -> None:
        lines = [rows[0], *edit([list(r) for r in rows[1:]])]
        table.write_text("\n".join(",".join(r) for r in lines))
        phantom.write_text(yaml.safe_dump(data))
        build_vessel(load(PhantomConfig, "phantoms", phantom))

    with pytest.raises(UserError, match=r"my\.csv: line 3: needs .* radius above 0 \(got -1\)"):
        with_table(lambda r: [r[0], [*r[1][:5], "-1"], *r[2:]])
    with pytest.raises(UserError, match=r"branch 'branch-1' lies outside .* the table is in m"):
        with_table(lambda r: [[x[0], *(str(1e3 * float(v)) for v in x[1:])] for x in r])
    with pytest.raises(UserError, match=r"my\.csv: has the branches trunk, but .* branch-1"):
        with_table(lambda r: [["trunk", *x[1:]] for x in r])
    middle = len(rows) // 2
    with pytest.raises(UserError, match=r"my\.csv: branch 'b' is \d+\.\d mm .* at 'mid'"):
        data["vessel"]["branches"] = {"a": ["inlet", "mid"], "b": ["mid", "outlet-1"]}
        with_table(
            lambda r: [
                *(["a", *x[1:]] for x in r[: middle - 10]),
                *(["b", *x[1:]] for x in r[middle + 10 :]),
            ]
        )
    data["vessel"]["branches"] = {"branch-1": ["inlet", "outlet-1"], "lost": ["a", "b"]}
    with pytest.raises(ConfigError, match=r"my\.yaml: vessel: .*one tree: connected"):
        with_table(lambda r: r)
    del data["vessel"]["branches"]["lost"]
    data["vessel"]["wall"] = "gone.obj"
    with pytest.raises(ConfigError, match=r"my\.yaml: vessel: wall: no such file .*gone\.obj"):
        with_table(lambda r: r)


@pytest.mark.parametrize(
    "connector", [None, Connector(False, 3.2e-3, 6e-3), Connector(True, None, 9e-3)]
)
def test_the_print_is_the_wall_open_at_its_ends(phantom: Path, connector: Connector | None) -> None:
    thickness = 1.2e-3
    vessel = build_vessel(load(PhantomConfig, "phantoms", phantom))
    solid = printable(vessel, thickness, connector)
    mesh = trimesh.Trimesh(solid.vertices, solid.faces, process=False)
    assert mesh.is_watertight
    assert mesh.is_winding_consistent
    assert mesh.body_count == 1
    assert solid.handles == 1  # one hole, from end to end
    (branch,) = vessel.map.branches.values()
    # A ring between both ends of the centreline; beyond them the connectors.
    ring = np.pi * ((RADIUS * 1e-3 + thickness) ** 2 - (RADIUS * 1e-3) ** 2)
    expected = ring * branch.length
    if connector is not None and not connector.barbed:
        bore = min(branch.radius[0], connector.radius - 0.4e-3)
        more = np.pi * (connector.radius**2 - bore**2) * connector.length
        assert solid.volume == pytest.approx(expected + 2 * more, rel=0.04)  # chords, 0.3 mm voxels
    elif connector is None:
        assert solid.volume == pytest.approx(expected, rel=0.04)
    reach = np.ptp(solid.vertices @ branch.tangents[0])
    beyond = 2 * connector.length if connector else 0.0
    assert reach == pytest.approx(branch.length + beyond, abs=0.4e-3)


def test_make_writes_what_a_printer_and_a_planner_need(folder: Path) -> None:
    text = run("make", "bifurcation", "--wall", "1e-3", "--out", "made")
    assert "watertight: yes" in text
    lumen, solid = (trimesh.load(folder / "made" / f"{n}.stl") for n in ("lumen", "print"))
    assert np.ptp(lumen.vertices, axis=0).max() == pytest.approx(43.0, abs=5.0)  # mm
    assert solid.euler_number == 2 - 2 * 2  # three openings
    rows = list(csv.DictReader((folder / "made/centreline.csv").read_text().splitlines()))
    assert {r["branch"] for r in rows} == {"trunk", "left", "right"}
    assert all(1e-3 < float(r["radius"]) < 3e-3 for r in rows)
    with pytest.raises(UserError, match="--seed: bifurcation is no random tree"):
        run("make", "bifurcation", "--seed", "3")


def test_make_writes_a_random_tree_that_a_scenario_can_name(folder: Path) -> None:
    run("make", "random-tree", "--seed", "3", "--connector", "barbed", "--out", "made")
    drawn = load(PhantomConfig, "phantoms", folder / "made/phantom.yaml")
    assert drawn.vessel.kind == "procedural"
    assert set(drawn.vessel.ends) == {"inlet", "aa", "ab", "ba", "bb"}
