"""The learned detector: what it sees, what is read off its outputs, and its model's files."""

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose

from mmdtwin.errors import UserError
from mmdtwin.frame import Frame, Projection
from mmdtwin.perception import Detector
from mmdtwin.perception.learned.detector import LearnedDetector
from mmdtwin.perception.learned.finds import read_finds
from mmdtwin.perception.learned.model import ONNX, RECORD, WEIGHTS, Model, shipped_model
from mmdtwin.perception.learned.network import KINDS, OUTPUTS, slices
from mmdtwin.perception.learned.seen import REACH, brightness, checked, seen


def noisy(shape, seed=0, level=500.0):
    return np.random.default_rng(seed).poisson(level, shape).astype(np.uint16)


def with_disc(image, u, v, radius, share):
    """Attenuate a disc of an image, as a device does."""
    y, x = np.indices(image.shape)
    inside = np.hypot(x - u, y - v) <= radius
    found = image.astype(float)
    found[inside] *= 1.0 - share
    return np.rint(found).astype(image.dtype), inside


@pytest.fixture(scope="module")
def detector():
    """The shipped model, at a threshold below its own: scenes here hold nothing that misleads."""
    return LearnedDetector(threshold=0.6)


def test_what_is_seen_does_not_depend_on_bits_or_exposure():
    image = noisy((96, 96))
    assert_allclose(seen(image * 16), seen(image), atol=1e-4)
    assert_allclose(seen(image.astype(float) / 4095.0), seen(image), atol=1e-4)


def test_a_part_is_seen_as_in_the_whole():
    image = noisy((256, 256))
    whole = seen(image)
    part = seen(image[50:200, 40:220], brightness(image))
    inner = slice(2 * REACH, -2 * REACH)
    assert_allclose(part[:, inner, inner], whole[:, 50:200, 40:220][:, inner, inner], atol=2e-3)


def test_noise_has_the_same_strength_at_any_dose():
    spreads = [seen(noisy((256, 256), level=level))[0].std() for level in (50, 500, 3000)]
    assert_allclose(spreads, spreads[1], rtol=0.1)


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (np.zeros((4, 64, 64)), "expected grey"),
        (np.zeros((16, 64)), "needs >= 32"),
        (np.full((64, 64), np.nan), "no finite numbers"),
        (np.zeros((64, 64, 3)) + np.arange(3), "expected grey"),
    ],
)
def test_images_that_cannot_be_looked_at_are_refused(image, message, detector):
    with pytest.raises(UserError, match=message):
        detector.find(image)


def test_grey_stored_as_colours_is_grey():
    grey = noisy((64, 64))
    assert checked(np.stack([grey] * 3, axis=2)).shape == (64, 64)


@pytest.mark.parametrize("value", [0, 4095])
def test_an_image_of_one_value_shows_nothing(value, detector):
    assert detector.find(np.full((128, 128), value, np.uint16)) == []


@settings(max_examples=40, deadline=None)
@given(
    st.floats(20, 107),
    st.floats(20, 107),
    st.floats(8, 25),
    st.floats(-1.5, 1.5),
    st.sampled_from(KINDS),
)
def test_a_device_is_read_off_the_outputs_that_stand_for_it(u, v, length, angle, kind):
    where = slices()
    grid = np.zeros((sum(OUTPUTS.values()), 32, 32), np.float32)
    grid[0] = -9.0
    x, y = (u + 0.5) / 4 - 0.5, (v + 0.5) / 4 - 0.5
    column, row = round(x), round(y)
    grid[0, row, column] = 3.0
    grid[where["offset"], row, column] = x - column, y - row
    grid[where["spread"], row, column] = np.log(0.5)
    grid[where["axis"], row, column] = (
        length / 16 * np.array([np.cos(2 * angle), np.sin(2 * angle)])
    )
    grid[where["strength"], row, column] = np.log1p(12.0)
    grid[where["kind"].start + KINDS.index(kind), row, column] = 5.0
    _, inside = with_disc(np.ones((128, 128)), u, v, length / 2, 1.0)
    half = cv2.resize(inside.astype(np.float32), (64, 64), interpolation=cv2.INTER_AREA)
    [find] = read_finds(grid, 8.0 * half - 4.0, 0.5)
    assert_allclose(find.centre, [u, v], atol=1e-3)
    assert find.kind == kind
    assert_allclose([find.length, find.sigma, find.d_prime], [length, 0.5, 12.0], rtol=1e-4)
    assert abs((find.angle - angle + np.pi / 2) % np.pi - np.pi / 2) < 1e-4
    r0, r1, c0, c1 = find.box
    found = np.zeros((128, 128), bool)
    found[r0:r1, c0:c1] = find.mask
    assert (found & inside).sum() / max((found | inside).sum(), 1) > 0.6


def test_the_network_is_the_same_in_both_libraries(detector, monkeypatch):
    image = seen(with_disc(noisy((128, 128)), 60, 70, 6, 0.3)[0])
    expected = detector.model(image)
    monkeypatch.setattr(Model, "backend", "torch")
    other = Model(shipped_model())
    for a, b in zip(other(image), expected, strict=True):
        assert_allclose(a, b, atol=2e-3)


def test_a_plain_device_is_found_where_it_is(detector):
    image, inside = with_disc(noisy((256, 256), level=800), 140.0, 91.0, 7, 0.25)
    found = detector.find(image)
    assert len(found) == 1
    assert_allclose(found[0].centre, [140.0, 91.0], atol=1.0)
    r0, r1, c0, c1 = found[0].box
    mask = np.zeros_like(inside)
    mask[r0:r1, c0:c1] = found[0].mask
    assert (mask & inside).sum() / (mask | inside).sum() > 0.6


def test_regions_and_tiles_find_what_the_whole_does(detector):
    image, _ = with_disc(noisy((512, 512), level=800), 300.0, 200.0, 7, 0.3)
    [whole] = detector.find(image)
    near = detector.find(image, ((306.0, 190.0), 40.0), least=0.3)[0]
    assert_allclose(near.centre, whole.centre, atol=0.5)
    assert detector.find(image, ((100.0, 100.0), 40.0)) == []
    large = np.tile(noisy((256, 256), level=800), (6, 5))
    large, _ = with_disc(large, 1003.0, 1010.0, 7, 0.3)
    tiled = detector.find(large, least=0.3)[0]
    assert_allclose(tiled.centre, [1003.0, 1010.0], atol=1.0)


def test_detector_load_gives_what_trackers_use():
    detector = Detector.load()
    image, _ = with_disc(noisy((256, 256), level=800), 140.0, 91.0, 7, 0.25)
    projection = Projection.from_carm(1.1, 0.75, 3e-4, image.shape)
    [found] = detector.detect(Frame(image, 0, 0.0, 0.1, projection))
    assert_allclose(found.position, [140.0, 91.0], atol=1.0)
    assert found.score > 4.0
    assert np.linalg.eigvalsh(found.covariance)[0] > 0.0


@pytest.mark.parametrize("name", [ONNX, RECORD])
def test_a_broken_model_says_which_part(tmp_path, name):
    for each in (ONNX, RECORD, WEIGHTS):
        (tmp_path / each).write_bytes((shipped_model() / each).read_bytes())
    (tmp_path / name).write_bytes(b"broken")
    with pytest.raises(UserError, match=f"{name}.*broken"):
        LearnedDetector(tmp_path)


def test_an_onnx_file_of_other_heads_is_refused(tmp_path):
    onnx = pytest.importorskip("onnx")
    helper = onnx.helper
    value = helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, [1])
    out = helper.make_tensor_value_info("boxes", onnx.TensorProto.FLOAT, [1])
    graph = helper.make_graph([helper.make_node("Identity", ["x"], ["boxes"])], "g", [value], [out])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    (tmp_path / ONNX).write_bytes(model.SerializeToString())
    (tmp_path / RECORD).write_bytes((shipped_model() / RECORD).read_bytes())
    with pytest.raises(UserError, match="has heads boxes; expected grid, mask"):
        LearnedDetector(tmp_path)


def test_the_model_that_ships_is_small():
    for name in (ONNX, WEIGHTS):
        assert (shipped_model() / name).stat().st_size <= 3e6
