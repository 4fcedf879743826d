"""Fine structure of the CT: resampling, random density, vessels of the lungs.

Whether frames look like real ones is in `mmdtwin.synth.xray.checks.thorax`.
"""

import numpy as np
import pytest

from mmdtwin.frame import Projection
from mmdtwin.sim.anatomy import Anatomy
from mmdtwin.synth.xray.drr import material_maps
from mmdtwin.synth.xray.lung_vessels import END_RADIUS, LARGEST, lung_vessels, rasterise
from mmdtwin.synth.xray.texture import isotropic, power_law_field, textured

NAMES = {1: "lung_upper_lobe_left", 2: "vertebrae_T8", 3: "aorta", 4: "trachea", 5: "liver"}
HU = {0: -1000, 1: -850, 2: 300, 3: 40, 4: -1000, 5: 60}


def patient(size=96, spacing=0.7e-3):
    """A block of each kind of tissue side by side along x, air at both ends."""
    labels = np.zeros((size, size, size), np.uint8)
    for i, label in enumerate(NAMES):
        labels[8 + 16 * i : 24 + 16 * i] = label
    hounsfield = np.vectorize(HU.get)(labels).astype(np.int16)
    return Anatomy(labels, np.full(3, spacing), np.zeros(3), NAMES, hounsfield)


def a_lung(size=60, spacing=1e-3):
    labels = np.zeros((size,) * 3, np.uint8)
    x, y, z = np.mgrid[:size, :size, :size] - (size - 1) / 2
    labels[(x**2 + y**2 + z**2 < (size / 2 - 3) ** 2) & (x < 10)] = 1
    origin = np.array([0.02, -0.1, 0.03])
    hounsfield = np.full(labels.shape, -850, np.int16)
    return Anatomy(labels, np.full(3, spacing), origin, {1: "lung_lower_lobe_right"}, hounsfield)


def test_resampling_keeps_a_ramp_where_it_is():
    """Away from the ends a ramp of 10 to 20 HU a voxel stays where it is, to 3 HU (OpenCV's cubics
    are not quite exact, and HU are whole); labels go to the nearest voxel; the volume occupies the
    same place."""
    shape, spacing = (40, 20, 30), np.array([1.4e-3, 2.5e-3, 0.7e-3])
    origin = np.array([0.1, -0.2, 0.05])
    x, y, z = (origin[i] + spacing[i] * np.arange(shape[i]) for i in range(3))
    field = 4e3 * x[:, None, None] + 9e3 * y[:, None] + 7e3 * z
    labels = (y > -0.179).astype(np.uint8)[None, :, None] * np.ones(shape, np.uint8)
    coarse = Anatomy(labels, spacing, origin, {}, np.rint(field).astype(np.int16))
    fine = isotropic(coarse)
    assert fine.spacing == pytest.approx([0.7e-3] * 3, rel=0.01)
    assert fine.extent == pytest.approx(coarse.extent)
    x, y, z = (fine.origin[i] + fine.spacing[i] * np.arange(fine.labels.shape[i]) for i in range(3))
    expected = 4e3 * x[:, None, None] + 9e3 * y[:, None] + 7e3 * z
    inner = (slice(6, -6),) * 3
    assert np.abs(fine.hounsfield - expected)[inner].max() <= 3.0
    edge = y[np.argmax(fine.labels[5, :, 5])]
    assert edge == pytest.approx(-0.17875 + 0.35e-3, abs=0.36e-3)  # half way between slices


@pytest.mark.parametrize(("slope", "seed"), [(2.5, 0), (3.4, 1), (4.0, 2)])
def test_a_projected_field_has_its_exponent(slope, seed):
    """Projection-slice theorem: the mean along an axis has the spectrum of the volume across it.
    Linear interpolation would take away sinc^4, which the field is sharpened by. Fitted over 150
    waves per ring at least: 0.1 in the slope."""
    field = power_law_field(128, 1.0, slope, 1e3, np.random.default_rng(seed))
    for axis in range(3):
        k = np.fft.fftfreq(128)
        power = np.abs(np.fft.fft2(field.mean(axis=axis))) ** 2
        power *= (np.sinc(k)[:, None] * np.sinc(k)) ** 4
        f = np.hypot(k[:, None], k)
        band = (f > 0.05) & (f < 0.5)
        fitted = np.polyfit(np.log(f[band]), np.log(power[band]), 1)[0]
        assert fitted == pytest.approx(-slope, abs=0.1)
    assert abs(field.mean()) < 1e-4


def test_fine_structure_belongs_to_each_kind_of_tissue():
    """Means are kept to 0.6 HU (whole HU); air and airways stay as they are; lung, bone and organs
    vary by tens of HU, blood less than a third of what an organ does."""
    plain = patient()
    fine = textured(plain, seed=3)
    spread = {}
    for label, hu in HU.items():
        inside = fine.hounsfield[plain.labels == label]
        assert inside.mean() == pytest.approx(hu, abs=0.6)
        spread[label] = inside.std()
    assert spread[0] == spread[4] == 0.0
    assert 50 < spread[1] < 200 and 40 < spread[2] < 300 and 30 < spread[5] < 110
    assert 0.0 < spread[3] < spread[5] / 3 + 1


def test_same_seed_same_structure():
    plain = patient(48)
    first, again, other = (
        textured(plain, seed).hounsfield - plain.hounsfield for seed in (1, 1, 2)
    )
    assert np.array_equal(first, again)
    assert abs(np.corrcoef(first.ravel(), other.ravel())[0, 1]) < 0.2


def test_structure_moves_with_the_anatomy():
    """A thin layer of tissue at the isocentre, seen 2 mm further along x: its texture moves by 2 mm
    over the pixel size, to 0.35 px (the window pulls the peak towards 0)."""
    hounsfield = np.full((160, 160, 60), -1000, np.int16)
    hounsfield[:, :, 28:32] = 40
    labels = np.zeros(hounsfield.shape, np.uint8)
    spacing = np.full(3, 0.7e-3)
    origin = -spacing * (np.array(hounsfield.shape) - 1) / 2
    fine = textured(Anatomy(labels, spacing, origin, {}, hounsfield), 0)
    projection = Projection.from_carm(1.1, 0.75, 0.3e-3, (256, 256))
    still, moved = (
        material_maps(fine, projection, np.array([x, 0.0, 0.0]), below_test_slab=False)[
            "soft-tissue"
        ]
        for x in (0.0, 2e-3)
    )
    window = np.outer(np.hanning(256), np.hanning(256))
    pair = [np.fft.fft2((m - m.mean()) * window) for m in (still, moved)]
    correlation = np.fft.fftshift(np.fft.ifft2(pair[0] * np.conj(pair[1])).real)
    v, u = np.unravel_index(correlation.argmax(), correlation.shape)
    left, middle, right = correlation[v, u - 1 : u + 2]
    found = u - 128 + (right - left) / (2 * (2 * middle - left - right))
    assert v == 128
    assert found == pytest.approx(2e-3 / projection.pixel_size, abs=0.35)


@pytest.mark.parametrize("seed", range(3))
def test_branches_obey_murrays_law(seed):
    """Every branch but the roots starts where another ends, and the cubes of its daughters' radii
    add up to its own; the thinnest are those at the ends."""
    segments = lung_vessels(a_lung(), np.random.default_rng(seed))
    ends = {tuple(s[3:6]): s[6] for s in segments}
    daughters: dict[tuple, float] = {}
    roots = 0
    for s in segments:
        start = tuple(s[:3])
        if start in ends:
            daughters[start] = daughters.get(start, 0.0) + s[6] ** 3
        else:
            roots += 1
    assert roots == 2  # arteries and veins
    for point, cubes in daughters.items():
        assert cubes == pytest.approx(ends[point] ** 3)
    assert segments[:, 6].min() == pytest.approx(END_RADIUS)
    assert len(segments) == 2 * len(daughters) + roots


def test_vessels_end_in_the_lung_and_fill_their_volume():
    """End points lie in lung voxels; drawn, thin branches fill pi r^2 times their length, to 10 %:
    caps at their ends add, overlaps at forks take away."""
    lung = a_lung()
    segments = lung_vessels(lung, np.random.default_rng(0))
    tips = segments[np.isclose(segments[:, 6], END_RADIUS), 3:6]
    index = np.rint((tips - lung.origin) / lung.spacing).astype(int)
    assert np.all(lung.labels[tuple(index.T)] == 1)
    one = np.array([[0.03, -0.08, 0.05, 0.06, -0.06, 0.06, 0.6e-3]])
    length = np.linalg.norm(one[0, 3:6] - one[0, :3])
    for radius in (0.3e-3, 0.6e-3, 1.1e-3):
        one[0, 6] = radius
        volume = rasterise(one, lung).sum() / 255 * lung.spacing.prod()
        assert volume == pytest.approx(np.pi * radius**2 * length, rel=0.1)
    one[0, 6] = LARGEST * 1.01
    assert rasterise(one, lung).max() == 0


def test_no_lung_no_vessels():
    assert lung_vessels(Anatomy(
        np.zeros((4, 4, 4), np.uint8), np.ones(3), np.zeros(3), {}, np.zeros((4, 4, 4), np.int16)
    ), np.random.default_rng(0)).shape == (0, 7)  # fmt: skip
