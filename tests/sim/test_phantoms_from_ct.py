"""Phantoms from segmented voxels against skeletons, drawn courses and counted volumes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import nibabel
import numpy as np
import pytest
import trimesh
from scipy.ndimage import gaussian_filter1d
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import dijkstra
from scipy.spatial import cKDTree
from skimage.morphology import skeletonize
from typer.testing import CliRunner

from mmdtwin.cli.phantom import app
from mmdtwin.config import PhantomConfig, load
from mmdtwin.errors import UserError
from mmdtwin.sim.anatomy import load_artery_labels
from mmdtwin.sim.phantoms import Vessel, build_vessel
from mmdtwin.sim.phantoms.label_table import read_label_table
from mmdtwin.sim.phantoms.segmentation import read_segmentation

AREA = "vessels"

LENGTH = 0.03  # of a skeleton, which itself strays by half a voxel
VOLUME = 0.05
SMOOTH = 2e-3  # m along a skeleton, more for large voxels: it hides their steps, not the bends


Course = tuple[np.ndarray, float]  # points (n, 3) m, dense, and radius m


def arc(bend: float, angle: float, radius: float) -> list[Course]:
    """Part of a torus."""
    t = np.linspace(0.0, angle, 2000)
    return [(bend * np.stack([np.cos(t), np.sin(t), 0.2 * t], axis=1), radius)]


def helix(bend: float, pitch: float, turns: float, radius: float) -> list[Course]:
    t = np.linspace(0.0, 2 * np.pi * turns, 4000)
    points = np.stack([bend * np.cos(t), bend * np.sin(t), pitch * t / (2 * np.pi)], axis=1)
    return [(points, radius)]


def fork(length: float, angle: float, radius: float) -> list[Course]:
    """A Y: a trunk and two branches by Murray's law."""
    s = np.linspace(0.0, length, 1000)[:, None]
    out = [np.array([np.cos(angle), sign * np.sin(angle), 0.15]) for sign in (1.0, -1.0)]
    thin = radius * 2 ** (-1 / 3)
    return [(-s[::-1] * [1.0, 0.1, 0.0], radius), *((s * d, thin) for d in out)]


def voxels(courses: Sequence[Course], spacing: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the mask of voxels whose centre is inside, and the position of the first, m."""
    points = np.concatenate([p for p, _ in courses])
    radius = max(r for _, r in courses)
    origin = points.min(axis=0) - radius - 3 * spacing
    shape = np.ceil((points.max(axis=0) + radius + 3 * spacing - origin) / spacing).astype(int)
    grid = np.stack(np.meshgrid(*[np.arange(n) for n in shape], indexing="ij"), axis=-1)
    centres = origin + spacing * grid.reshape(-1, 3)
    mask = np.zeros(len(centres), bool)
    for line, r in courses:
        mask |= cKDTree(line).query(centres, distance_upper_bound=r)[0] <= r
    return mask.reshape(tuple(shape)), origin


def write_scan(folder: Path, mask: np.ndarray, spacing: np.ndarray, label: int = 7) -> list[str]:
    """Write a CT and its segmentation as NIfTI; return their names."""
    affine = np.diag([*(spacing * 1e3), 1.0])
    ct, labels = folder / "ct.nii.gz", folder / "labels.nii.gz"
    nibabel.save(nibabel.Nifti1Image(np.where(mask, 300, 40).astype(np.int16), affine), ct)
    nibabel.save(nibabel.Nifti1Image((label * mask).astype(np.uint8), affine), labels)
    return [str(ct), str(labels)]


def skeleton_way(mask: np.ndarray, spacing: np.ndarray, smoothing: float) -> np.ndarray:
    """The longest way (n, 3) m along the skeleton of a mask, from its first voxel.

    scikit-image thins the mask (Lee et al. 1994); the steps of the voxels are smoothed with a
    Gaussian of `smoothing` m, or of 1.25 times the largest voxel, along the way.
    """
    nodes = np.argwhere(skeletonize(mask))
    pairs = cKDTree(nodes).query_pairs(1.8, output_type="ndarray")
    steps = np.linalg.norm((nodes[pairs[:, 0]] - nodes[pairs[:, 1]]) * spacing, axis=1)
    n = len(nodes)
    graph = coo_matrix((steps, pairs.T), (n, n)).tocsr()
    far = dijkstra(graph, directed=False, indices=0)
    start = int(np.where(np.isfinite(far), far, -1.0).argmax())
    lengths, before = dijkstra(graph, directed=False, indices=start, return_predecessors=True)
    way = [int(np.where(np.isfinite(lengths), lengths, -1.0).argmax())]
    while way[-1] != start:
        way.append(int(before[way[-1]]))
    line = nodes[way] * spacing
    even = np.linspace(0, len(line) - 1, 20 * len(line))
    line = np.stack([np.interp(even, np.arange(len(line)), c) for c in line.T], axis=1)
    step = np.linalg.norm(np.diff(line, axis=0), axis=1).mean()
    smoothing = max(smoothing, 1.25 * float(spacing.max()))
    pad = int(4 * smoothing / step) + 1
    line = np.pad(line, ((pad, pad), (0, 0)), mode="reflect", reflect_type="odd")
    return gaussian_filter1d(line, smoothing / step, axis=0)[pad:-pad]


def length(line: np.ndarray) -> float:
    return float(np.linalg.norm(np.diff(line, axis=0), axis=1).sum())


def placed(points: np.ndarray, mask: np.ndarray, spacing: np.ndarray, scale: float) -> np.ndarray:
    """Take points from the frame of a plain NIfTI's voxels to that of a phantom made of it."""
    box = np.argwhere(mask)
    middle = 0.5 * (box.min(axis=0) + box.max(axis=0)) * spacing
    return scale * ((points - middle) * [-1.0, 1.0, 1.0])[:, [0, 2, 1]]


def run(*arguments: object) -> str:
    result = CliRunner().invoke(app, [str(a) for a in arguments], catch_exceptions=False)
    assert result.exit_code == 0
    return result.output


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MMDTWIN_CACHE", str(tmp_path / "cache"))
    return tmp_path


def built(path: Path) -> Vessel:
    return build_vessel(load(PhantomConfig, "phantoms", path))


@pytest.mark.parametrize(
    ("courses", "spacing", "scale", "ends"),
    [
        (arc(14e-3, 3.0, 2.5e-3), [0.7, 0.7, 1.5], 1.0, 2),
        (helix(9e-3, 14e-3, 1.3, 2.4e-3), [0.6, 0.6, 0.6], 0.5, 2),
        (fork(22e-3, 0.7, 3.2e-3), [0.8, 0.8, 0.8], 0.8, 3),
    ],
)
def test_lumens_of_known_course(
    folder: Path, courses: list, spacing: list, scale: float, ends: int
) -> None:
    size = np.array(spacing) * 1e-3
    mask, _ = voxels(courses, size)
    scan = write_scan(folder, mask, size)
    run("from-ct", *scan, "--label", 7, "--scale", scale, "--out", folder / "mine.yaml")
    vessel = built(folder / "mine.yaml")
    assert vessel.surface.watertight
    assert vessel.surface.handles == 0
    assert len(vessel.map.ends) == ends
    counted = mask.sum() * np.prod(size) * scale**3
    assert vessel.surface.volume == pytest.approx(counted, rel=VOLUME)
    way = skeleton_way(mask, size, SMOOTH)
    start, target = placed(way[[0, -1]], mask, size, scale)
    # Skeleton and centreline end at different distances from the caps: compared where both are.
    path = vessel.map.path(*vessel.map.points[vessel.map.nearest([start, target])[0]])
    assert path.length == pytest.approx(scale * length(way), rel=LENGTH)
    if ends == 2:
        (branch,) = vessel.map.branches.values()
        assert branch.length == pytest.approx(scale * length(courses[0][0]), rel=LENGTH)
        # The counted volume holds the radius; half a voxel's roughness takes from a ball's.
        assert np.median(branch.radius) == pytest.approx(
            scale * courses[0][1], abs=0.5 * scale * size.min()
        )


def test_an_artery_of_the_ct_whatever_its_orientation(folder: Path, claim) -> None:
    """The left subclavian artery, once with reversed and swapped axes."""
    labels = load_artery_labels()
    first = labels.mask("subclavian_artery_left")
    box = np.argwhere(first)
    part = tuple(slice(a - 4, b + 5) for a, b in zip(box.min(0), box.max(0), strict=True))
    names = folder / "names.csv"
    names.write_text("structure,id\n" + "\n".join(f"{n},{k}" for k, n in labels.names.items()))
    world = labels.labels[part]
    # On the axes left, head, front: right = -x, front = z, head = y.
    affine = np.zeros((4, 4))
    affine[0, 0], affine[2, 1], affine[1, 2] = np.array([-1, 1, 1]) * labels.spacing * 1e3
    affine[3, 3] = 1.0
    vessels = []
    for name, image in (
        ("plain", nibabel.Nifti1Image(world, affine)),
        ("turned", nibabel.as_closest_canonical(nibabel.Nifti1Image(world, affine))),
    ):
        nibabel.save(image, folder / f"{name}.nii.gz")
        volume = folder / f"{name}.nii.gz"
        text = run(
            "from-ct", volume, volume, "--label", "subclavian_artery_left", "--names", names,
            "--scale", 0.5, "--voxel", 0.35e-3, "--out", folder / f"{name}.yaml",
        )  # fmt: skip
        assert "HU" in text
        vessels.append(built(folder / f"{name}.yaml"))
    plain, turned = vessels
    counted = first.sum() * np.prod(labels.spacing) * 0.5**3
    for vessel in vessels:
        assert vessel.surface.watertight
        assert vessel.surface.volume == pytest.approx(counted, rel=VOLUME)
    assert np.allclose(plain.vertices.max(axis=0), turned.vertices.max(axis=0), atol=0.1e-3)
    way = skeleton_way(first[part], labels.spacing, SMOOTH)
    inside = np.argwhere(first[part])
    middle = 0.5 * (inside.min(axis=0) + inside.max(axis=0)) * labels.spacing
    ends = plain.map.points[plain.map.nearest(0.5 * (way[[0, -1]] - middle))[0]]
    course = plain.map.path(*ends).length / (0.5 * length(way)) - 1
    volume = plain.surface.volume / counted - 1
    assert claim(
        "a phantom of labelled voxels has their volume and their course",
        parameters="left subclavian artery of the CT, 1.4 x 2.5 x 1.4 mm voxels, scale 0.5",
        reference="counted voxels; the longest way along scikit-image's skeleton of the labels, "
        "steps smoothed over the largest voxel",
        acceptance="volume 5 %, length 3 % (an unsmoothed skeleton reads up to 18 % long), closed",
        result=f"volume {volume:+.1%}, length {course:+.1%}, closed",
        holds=abs(volume) <= VOLUME and abs(course) <= LENGTH and plain.surface.watertight,
        limits="a rough surface of coarse labels grows stubs; arteries that touch in the labels "
        "are one",
    )


@pytest.fixture
def scan(folder: Path) -> list[str]:
    size = np.array([1e-3, 1e-3, 1e-3])
    mask, _ = voxels(arc(12e-3, 1.5, 3e-3), size)
    mask[0, 0, 0] = True  # a stray voxel
    return write_scan(folder, mask, size)


def test_the_largest_piece_is_kept_and_said_so(folder: Path, scan: list[str]) -> None:
    text = run("from-ct", *scan, "--label", 7, "--out", folder / "mine.yaml")
    assert "largest of 2 pieces" in text
    surface = built(folder / "mine.yaml").surface
    counted = int(np.asarray(nibabel.load(scan[1]).dataobj).astype(bool).sum()) - 1  # of 1 mm3
    assert surface.volume == pytest.approx(counted * 1e-9, rel=0.01)
    assert trimesh.Trimesh(surface.vertices, surface.faces, process=False).body_count == 1


@pytest.mark.parametrize(
    ("extra", "message"),
    [
        (["--label", "3"], r"--label 3: does not occur in .*labels\.nii\.gz; there are: 7"),
        (["--label", "aorta"], "--label aorta: a name needs --names"),
        (["--label", "--5"], "--label --5: a name needs --names"),
        (["--label", "\u00b2"], "--label \u00b2: a name needs --names"),
        (["--label", "7", "--scale", "100"], "--scale 100: it is .* mm large"),
        (["--label", "7", "--scale", "0.06", "--voxel", "5e-5"], r"--scale 0\.06: it is 1\.\d+ mm"),
        (["--label", "7", "--scale", "20", "--voxel", "5e-5"], "--voxel: 0.05 mm is too fine"),
        (["--label", "7", "--out", "mine.txt"], r"--out mine\.txt: .* ending in \.yaml"),
        (["--label", "7", "--smoothing", "0.02"], "--smoothing: 0.02 wipes out the lumen"),
    ],
)
def test_wrong_options_are_refused(
    folder: Path, scan: list[str], monkeypatch, extra: list[str], message: str
) -> None:
    monkeypatch.chdir(folder)
    with pytest.raises(UserError, match=message):
        CliRunner().invoke(app, ["from-ct", *scan, *extra], catch_exceptions=False)
    assert not list(folder.glob("phantom.*"))


@pytest.mark.parametrize(
    "extra",
    [["--smoothing", "inf"], ["--smoothing", "nan"], ["--scale", "inf"], ["--scale", "1e9"]],
)
def test_options_that_are_no_lengths_are_refused(scan: list[str], extra: list[str]) -> None:
    result = CliRunner().invoke(app, ["from-ct", *scan, "--label", "7", *extra])
    assert result.exit_code == 2


@pytest.mark.parametrize("which", [0, 1])
def test_truncated_volumes_are_refused(scan: list[str], which: int) -> None:
    data = Path(scan[which]).read_bytes()
    Path(scan[which]).write_bytes(data[: len(data) * 2 // 3])
    with pytest.raises(UserError, match=f"{Path(scan[which]).name}: cannot be read as NIfTI"):
        CliRunner().invoke(app, ["from-ct", *scan, "--label", "7"], catch_exceptions=False)


@pytest.mark.parametrize(
    "text",
    ["id,name,r,g,b\n1,aorta,220,20,60\n", "1\taorta\t220\t20\n2\tleft vein\t0\t0\n",
     "name;r;id\naorta;220;1\n", "#table\n1 aorta 220 20 60 255\n"],
)  # fmt: skip
def test_label_tables(folder: Path, text: str) -> None:
    (folder / "names.csv").write_text(text)
    assert read_label_table(folder / "names.csv")["aorta"] == 1


def test_a_table_with_two_numbers_for_a_name_is_refused(folder: Path) -> None:
    (folder / "names.csv").write_text("artery,1,aorta\nartery,2,carotid\n")
    with pytest.raises(UserError, match=r"names\.csv: 'artery' is 1 and 2; name the columns"):
        read_label_table(folder / "names.csv")


def test_units_of_a_volume_are_honoured(folder: Path) -> None:
    size = np.array([1e-3, 1e-3, 1e-3])
    mask, _ = voxels(arc(12e-3, 1.5, 3e-3), size)
    for unit, length in (("mm", 1e-3), ("meter", 1.0), ("micron", 1e-6)):
        image = nibabel.Nifti1Image(mask.astype(np.uint8), np.diag([*(size / length), 1.0]))
        image.header.set_xyzt_units(unit)
        nibabel.save(image, folder / f"{unit}.nii.gz")
        path = folder / f"{unit}.nii.gz"
        assert read_segmentation(path, path, ["1"]).spacing == pytest.approx(size, rel=1e-5)


def test_grids_that_differ_and_files_that_are_no_volumes_are_refused(
    folder: Path, scan: list[str]
) -> None:
    image = nibabel.load(scan[0])
    other = nibabel.Nifti1Image(np.asarray(image.dataobj)[1:], image.affine)
    nibabel.save(other, folder / "other.nii.gz")
    (folder / "text.nii.gz").write_text("no volume")
    for ct, message in (
        (folder / "other.nii.gz", "its voxels are not those of"),
        (folder / "text.nii.gz", "cannot be read as NIfTI"),
        (folder / "none.nii.gz", "cannot be read as NIfTI"),
    ):
        with pytest.raises(UserError, match=message):
            CliRunner().invoke(
                app, ["from-ct", str(ct), scan[1], "--label", "7"], catch_exceptions=False
            )
