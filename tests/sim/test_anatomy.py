"""The shipped anatomy: axes, native tissue, and what was kept out of it."""

import numpy as np
import pytest

from mmdtwin.errors import UserError
from mmdtwin.files import cache_dir
from mmdtwin.sim import anatomy as module
from mmdtwin.sim.anatomy import (
    ARTERIES,
    BLOOD,
    CT_FILES,
    TEST_SLAB_Y,
    arteries,
    load_anatomy,
    load_artery_labels,
    native,
)
from mmdtwin.sim.make_anatomy_sample import QUANTUM, halve


def centre(labels, *names):
    return labels.origin + labels.spacing * np.argwhere(labels.mask(*names)).mean(axis=0)


@pytest.fixture(scope="module")
def sample():
    return load_anatomy()


def test_axes_are_left_head_front(sample):
    """Anatomy is the reference: the liver is right, the heart above it, the spine behind it."""
    assert centre(sample, "lung_upper_lobe_left")[0] > centre(sample, "lung_upper_lobe_right")[0]
    assert centre(sample, "heart")[1] > centre(sample, "liver")[1]
    assert centre(sample, "sternum")[2] > centre(sample, "heart")[2]
    assert centre(sample, "heart")[2] > centre(sample, "vertebrae_T8")[2]
    assert centre(sample, "liver")[0] < centre(sample, "spleen")[0]


def test_the_test_slab_is_not_shipped(sample):
    assert sample.extent[1, 1] <= TEST_SLAB_Y
    assert sample.spacing == pytest.approx([1.40625e-3, 2.5e-3, 1.40625e-3])


def test_tissue_is_native(sample):
    """Blood is 40 HU; half resolution mixes neighbours, so medians are compared."""
    for name in ("aorta", "heart", "superior_vena_cava"):
        assert abs(np.median(sample.hounsfield[sample.mask(name)]) - 40) <= QUANTUM / 2
    assert np.mean(sample.hounsfield[sample.mask("kidney", "spleen")] > 100) < 0.01
    assert np.median(sample.hounsfield[sample.mask("vertebrae")]) > 150
    assert np.median(sample.hounsfield[sample.mask("rib_")]) > 150


def test_couch_and_padding_are_air(sample):
    """Behind the back lies nothing but air: the body's lowest voxel is skin, not a couch."""
    dense = (sample.hounsfield > -300).any(axis=0)
    behind = sample.origin[2] + sample.spacing[2] * dense.argmax(axis=1)[dense.any(axis=1)]
    spine = centre(sample, "vertebrae_T8")[2]
    assert sample.hounsfield.min() == -1000
    assert spine - behind.min() < 0.12  # the couch in this scan lies further back


def test_arteries_keep_the_resolution_of_the_ct():
    labels, masks = load_artery_labels(), arteries()
    assert labels.spacing == pytest.approx([0.703125e-3, 2.5e-3, 0.703125e-3])
    assert set(masks) == set(ARTERIES)
    # Voxel counts of the labels in the CT: nothing was cropped away.
    counts = {name: int(mask.sum()) for name, mask in masks.items()}
    assert counts["aorta"] == 152466
    assert counts["common_carotid_artery_right"] == 1345
    # Median diameter of the descending aorta from its area in slices: 22 mm, 10 % for the shape.
    areas = masks["aorta"].sum(axis=(0, 2))[:60] * labels.spacing[0] * labels.spacing[2]
    assert 2 * np.sqrt(np.median(areas) / np.pi) == pytest.approx(22e-3, rel=0.15)


def test_arteries_lie_where_the_sample_has_them(sample):
    labels = load_artery_labels()
    below = labels.origin[1] + labels.spacing[1] * np.arange(labels.labels.shape[1]) < TEST_SLAB_Y
    index = np.argwhere(labels.mask("aorta") & below[None, :, None])
    fine = labels.origin + labels.spacing * index.mean(axis=0)
    assert np.linalg.norm(fine - centre(sample, "aorta")) < 1e-3  # a voxel of the sample


def test_unknown_resolution_is_refused():
    with pytest.raises(UserError, match="sample, full"):
        load_anatomy("huge")


def test_no_network_points_to_the_sample(tmp_path, monkeypatch):
    """The real pip, kept from every index, must end in one clear line."""
    monkeypatch.setenv("MMDTWIN_CACHE", str(tmp_path))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.delenv("PIP_FIND_LINKS", raising=False)
    with pytest.raises(UserError, match="shipped 'sample' needs no network"):
        load_anatomy("full")
    assert not any((tmp_path / "anatomy").iterdir())


@pytest.mark.slow
def test_full_ct_gives_the_sample():
    if not all((cache_dir("anatomy") / name).is_file() for name in CT_FILES):
        pytest.skip("the full CT is not in the cache; load_anatomy('full') fetches it")
    full = load_anatomy("full")
    assert full.hounsfield.shape == (512, 133, 512)
    assert np.median(full.hounsfield[full.mask("aorta")]) > 350  # contrast medium is kept
    clean = native(full)
    assert np.all(clean.hounsfield[full.mask(*BLOOD)] <= module.NATIVE_LIMIT)
    small, shipped = halve(clean), load_anatomy()
    shift = np.rint((shipped.origin - small.origin) / small.spacing).astype(int)
    window = tuple(slice(s, s + n) for s, n in zip(shift, shipped.labels.shape, strict=True))
    error = small.hounsfield[window].astype(int) - shipped.hounsfield
    inside = shipped.hounsfield < 2000  # the top of the 8-bit scale is clipped
    assert np.abs(error[inside]).max() <= QUANTUM
