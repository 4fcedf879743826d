"""Films, and devices cut out of a user's images."""

import cv2
import numpy as np
import pytest

from mmdtwin.errors import UserError
from mmdtwin.frame import Projection
from mmdtwin.geometry import transform
from mmdtwin.sim.shapes import Film, Solids
from mmdtwin.synth.compositor.cutouts import THICKNESS, draw_cutout, load
from mmdtwin.synth.compositor.devices import extent
from mmdtwin.synth.xray.path_lengths import covered_roi, path_lengths

CARM = Projection.from_carm(1.1, 0.75, 0.3e-3, (128, 128))


def lengths(body):
    found = np.zeros((2, 128, 128))
    roi = covered_roi(body, CARM)
    if roi is not None:
        found[:, roi[0] : roi[1], roi[2] : roi[3]] = path_lengths(body, CARM, roi)
    return found


@pytest.mark.parametrize("tilt", [0.0, 0.6])
def test_even_film_is_a_thin_box(tilt):
    c, s = np.cos(tilt), np.sin(tilt)
    R = np.array([[c, 0, s], [0, 1, 0], [-s, 0, c]])
    T = transform(R, [2e-3, -1e-3, 5e-3])
    thickness = np.zeros((82, 122), np.float32)
    thickness[1:-1, 1:-1] = 20e-6
    film, size = Film(thickness, 0.1e-3, T, "silicone"), np.array([12e-3, 8e-3, 20e-6])
    box = Solids(T[None, :3, 3], R[None], size[None] / 2, "silicone")
    found, expected = lengths(film), lengths(box)
    inner = expected[1] > 0.999
    assert inner.sum() > 500
    assert found[0][inner] == pytest.approx(expected[0][inner], rel=2e-3)
    assert found[0].sum() == pytest.approx(expected[0].sum(), rel=5e-3)


def test_film_follows_its_image():
    """A spot right of and below the middle, seen from above: +x is right, +y of a film is down."""
    thickness = np.zeros((21, 31), np.float32)
    thickness[15, 25] = 1e-3
    down = transform(np.diag([1.0, -1.0, -1.0]))
    path, _ = lengths(Film(thickness, 0.5e-3, down, "silicone"))
    row, column = np.unravel_index(path.argmax(), path.shape)
    expected = CARM.project(np.array([5e-3, -2.5e-3, 0.0]))
    assert [column, row] == pytest.approx(expected.tolist(), abs=0.6)


def test_film_seen_from_its_edge_is_not_there():
    side = transform(np.array([[0, 0, 1.0], [0, 1, 0], [-1, 0, 0]]))
    path, share = lengths(Film(np.full((9, 9), 1e-3, np.float32), 1e-3, side, "silicone"))
    assert not path.any() and not share.any()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"thickness": np.zeros((4, 4), np.float32)}, "some above 0"),
        ({"thickness": np.full((4, 4), -1.0)}, "negative"),
        ({"thickness": np.full((4, 4), np.nan)}, "not a finite number"),
        ({"pixel_size": 0.0}, "negative"),
    ],
)
def test_impossible_films_are_refused(change, message):
    given = {"thickness": np.ones((4, 4), np.float32), "pixel_size": 1e-3, "T": np.eye(4)}
    with pytest.raises(UserError, match=message):
        Film(**{**given, **change}, material="silicone")


def picture(folder, name="sheet-a", mask=None):
    """A device thicker at one end before a slope of brightness, and its mask."""
    v, u = np.mgrid[:60, :80].astype(np.float32)
    inside = (np.abs(v - 30) < 6) & (np.abs(u - 40) < 20)
    depth = np.where(inside, 0.1 + 0.3 * (u - 20) / 40, 0.0)
    image = (20_000 + 150 * u + 60 * v) * np.exp(-depth)
    cv2.imwrite(str(folder / f"{name}.png"), image.astype(np.uint16))
    if mask is None:
        mask = inside.astype(np.uint8) * 255
    if mask is not False:
        cv2.imwrite(str(folder / f"{name}-mask.png"), mask)
    return depth


def test_cutout_has_the_attenuation_of_its_image(tmp_path):
    depth = picture(tmp_path)
    (device,) = load(str(tmp_path))
    film = device.bodies[0]
    seen = depth[depth.any(axis=1)][:, depth.any(axis=0)]
    found = film.thickness[1:-1, 1:-1]
    assert device.kind == "sheet" and device.origin == "cut-out"
    assert found / found.max() == pytest.approx(seen / seen.max(), abs=0.03)
    drawn = draw_cutout(np.random.default_rng(0), str(tmp_path), 3e-3)
    assert extent(drawn.bodies) == pytest.approx(3e-3)
    assert drawn.bodies[0].thickness.max() == pytest.approx(THICKNESS * 3e-3, rel=0.15)
    assert np.abs(drawn.centre).max() < 1e-9


def test_thickness_maps_are_taken_as_they_are(tmp_path):
    np.save(tmp_path / "droplet-b.npy", np.outer(np.hanning(20), np.hanning(30)) * 1e-3)
    (device,) = load(str(tmp_path))
    assert device.family == "ferrofluid" and device.bodies[0].thickness.shape == (20, 30)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda _: None, "no KIND-NAME.png"),
        (lambda d: picture(d, "fish-a"), "must begin with a kind and a dash: sheet"),
        (lambda d: picture(d, mask=False), "has no mask; expected sheet-a-mask.png"),
        (lambda d: picture(d, mask=np.full((9, 9), 255, np.uint8)), "80 x 60 px, its mask 9 x 9"),
        (lambda d: picture(d, mask=np.zeros((60, 80), np.uint8)), "is empty"),
        (lambda d: picture(d, mask=np.full((60, 80), 255, np.uint8)), "is whole"),
        (lambda d: np.save(d / "bead-a.npy", np.zeros((4, 4))), "is empty"),
        (lambda d: np.save(d / "bead-a.npy", np.full((4, 4), -1.0)), "not negative"),
        (lambda d: (d / "bead-a.npy").write_text("x"), "cannot be read"),
        (lambda d: (d / "bead-a.png").write_text("x"), "has no mask"),
    ],
)
def test_bad_cutouts_are_refused(tmp_path, spoil, message):
    spoil(tmp_path)
    with pytest.raises(UserError, match=message):
        load(str(tmp_path))
