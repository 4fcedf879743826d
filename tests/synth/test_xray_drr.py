"""Line integrals of CT volumes: material split, any gantry angle, what the CT does not hold.

Chords of blocks at random angles are in `mmdtwin.synth.xray.checks.thorax`.
"""

import numpy as np
import pytest

from mmdtwin.errors import UserError
from mmdtwin.frame import Projection
from mmdtwin.sim.anatomy import TEST_SLAB_Y, Anatomy
from mmdtwin.synth.xray.drr import check_coverage, material_fractions, material_maps, truncation
from mmdtwin.synth.xray.materials import attenuation

ANGLES = [0.0, 0.3, -0.7, 0.9, np.pi / 2, -np.pi / 2, 2.4, np.pi]


def carm(**changes):
    geometry = {"sid": 1.1, "sod": 0.75, "pitch": 0.3e-3, "shape": (512, 512)} | changes
    return Projection.from_carm(**geometry)


def ct(hounsfield, spacing=(1e-3, 1e-3, 1e-3)):
    """A CT without labels about the origin."""
    spacing = np.array(spacing)
    origin = -spacing * (np.array(hounsfield.shape) - 1) / 2
    labels = np.zeros(hounsfield.shape, np.uint8)
    return Anatomy(labels, spacing, origin, {}, np.asarray(hounsfield, np.int16))


def slab_of(thickness, hu=0, size=160):
    """Water, `thickness` voxels along z, in air, the whole field wide."""
    hounsfield = np.full((size, size, size), -1000, np.int16)
    low = (size - thickness) // 2
    hounsfield[:, :, low : low + thickness] = hu
    return ct(hounsfield)


def test_material_split_keeps_attenuation():
    """At the CT's effective energy the two shares must give back r = 1 + HU/1000, metal too."""
    hu = np.array([-1000, -850, -100, 0, 40, 51, 300, 900, 1500, 3071], np.int16)
    soft, bone = material_fractions(hu)
    mu = soft * attenuation("soft-tissue", 70.0) + bone * attenuation("bone", 70.0)
    assert mu / attenuation("water", 70.0) == pytest.approx(1 + hu / 1000, abs=1e-5)
    assert np.all(bone[hu <= 40] == 0.0)
    assert bone[-2] == pytest.approx(1.0, abs=0.15)
    soft, beside = material_fractions(hu, skeleton=False)
    mu = soft * attenuation("soft-tissue", 70.0) + beside * attenuation("bone", 70.0)
    assert mu / attenuation("water", 70.0) == pytest.approx(1 + hu / 1000, abs=1e-5)
    assert np.all(beside[hu < 200] == 0.0) and np.all(beside[:-1] <= bone[:-1])


def test_soft_tissue_without_a_label_of_bone_is_not_bone():
    """150 HU is bone where the skeleton is labelled, and dense soft tissue beside it."""
    slab = slab_of(80, 150)
    labels = np.ones(slab.labels.shape, np.uint8)
    labels[80:] = 2
    names = {1: "liver", 2: "vertebrae_T8"}
    labelled = Anatomy(labels, slab.spacing, slab.origin, names, slab.hounsfield)
    maps = material_maps(labelled, carm(), np.zeros(3), below_test_slab=False)
    soft, bone = material_fractions(np.array([150], np.int16))
    assert maps["bone"][:, :200].max() == 0.0
    assert maps["bone"][256, 320] == pytest.approx(0.08 * bone[0], rel=0.01)
    assert maps["soft-tissue"][256, 320] == pytest.approx(0.08 * soft[0], rel=0.01)
    dense = 1.15 / (attenuation("soft-tissue", 70.0) / attenuation("water", 70.0))
    assert maps["soft-tissue"][256, 192] == pytest.approx(0.08 * dense, rel=0.01)


@pytest.mark.parametrize("hu", [-850, 40, 700])
def test_maps_are_sums_of_the_voxels_shares(hu):
    """Through a slab each material's path is its share times depth / cosine, to 1e-4."""
    projection = carm(primary=0.3, shape=(128, 128), pitch=0.6e-3)
    maps = material_maps(slab_of(80, hu), projection, np.zeros(3), below_test_slab=False)
    v, u = np.mgrid[0:128, 0:128]
    slant = 1 / np.abs(projection.rays(np.stack([u, v], axis=-1))[..., 2])
    soft, bone = material_fractions(np.array([hu], np.int16))
    assert maps["soft-tissue"] == pytest.approx(0.08 * slant * soft, rel=1e-4)
    assert maps["bone"] == pytest.approx(0.08 * slant * bone, rel=1e-4, abs=1e-8)


@pytest.mark.parametrize("secondary", [-0.2, 0.3])
@pytest.mark.parametrize("primary", ANGLES)
def test_a_marker_in_the_ct_projects_where_the_projection_says(primary, secondary):
    """A dense cube of 7 voxels at a known point lands on its projected pixel, within 0.12 px (of 5
    to a voxel, and the cube's near face is magnified by 1 % more), whichever axis cuts the rays;
    and its attenuation is kept: relative to water, path times area at its depth is r times its
    volume, 2 % (undershoot of the interpolation at its faces is cut at 0)."""
    hounsfield = np.full((101, 161, 91), -1000, np.int16)
    hounsfield[57:64, 72:79, 47:54] = 800
    volume = ct(hounsfield, (1e-3, 1.2e-3, 1e-3))
    marker = volume.origin + volume.spacing * np.array([60, 75, 50])
    isocentre = np.array([0.005, -0.004, 0.003])
    projection = carm(primary=primary, secondary=secondary)
    maps = material_maps(volume, projection, isocentre, below_test_slab=False)
    mu = sum(attenuation(name, 70.0) * m for name, m in maps.items()) / attenuation("water", 70.0)
    v, u = np.mgrid[0:512, 0:512]
    found = np.array([(u * mu).sum(), (v * mu).sum()]) / mu.sum()
    point = marker - isocentre
    assert found == pytest.approx(projection.project(point), abs=0.12)
    size = projection.pitch * projection.depth(point) / projection.sid
    cosine = projection.rays(found) @ projection.axes[2]
    assert mu.sum() * size**2 * cosine == pytest.approx(
        1.8 * 7**3 * volume.spacing.prod(), rel=0.02
    )


@pytest.mark.parametrize("shape", [(101, 77), (96, 128)])
def test_sampling_of_rays_does_not_move_the_image(shape):
    """A ramp across the field, at sampling every second pixel and at every pixel: 0.02 mm.

    The image's sides need not be multiples of the sampling.
    """
    ramp = np.broadcast_to(np.arange(-500, 200, 7, dtype=np.int16)[:, None, None], (100, 60, 60))
    projection = carm(shape=shape)
    fine = np.repeat(np.repeat(np.repeat(ramp, 2, 0), 2, 1), 2, 2)
    coarse = material_maps(ct(ramp), projection, np.zeros(3), below_test_slab=False)
    finer = material_maps(ct(fine, (0.5e-3,) * 3), projection, np.zeros(3), below_test_slab=False)
    difference = coarse["soft-tissue"] - finer["soft-tissue"]
    assert np.abs(difference).max() < 0.3e-3
    assert abs(difference.mean()) < 0.02e-3


def test_rays_that_leave_by_head_or_feet_are_refused():
    volume = slab_of(80)
    for y in (0.06, -0.06):
        with pytest.raises(UserError, match="rays leave the CT"):
            material_maps(volume, carm(), np.array([0.0, y, 0.0]), below_test_slab=False)
    with pytest.raises(UserError, match="along the body"):
        check_coverage(volume, carm(secondary=1.2), np.zeros(3), below_test_slab=False)


def test_the_test_anatomy_is_refused_unless_asked_for():
    volume = slab_of(40)
    shifted = Anatomy(
        volume.labels,
        volume.spacing,
        volume.origin + np.array([0.0, TEST_SLAB_Y, 0.0]),
        {},
        volume.hounsfield,
    )
    where = np.array([0.0, TEST_SLAB_Y, 0.0])
    check_coverage(shifted, carm(), where, below_test_slab=False)
    with pytest.raises(UserError, match="rays leave the CT"):
        check_coverage(shifted, carm(), where)


@pytest.mark.parametrize("primary", ANGLES)
def test_truncation_counts_rays_through_a_side_with_body(primary):
    """A block that touches one side of the CT: a ray is cut if its entry or exit there is within
    the block; counted here from the closed form, to one part in 200 (rounding to voxels)."""
    hounsfield = np.full((80, 100, 90), -1000, np.int16)
    hounsfield[:40, 30:70, 20:60] = 40  # touches x = lowest
    volume = ct(hounsfield)
    projection = carm(primary=primary, shape=(160, 160), pitch=0.6e-3)
    found = truncation(volume, projection, np.zeros(3))
    v, u = np.mgrid[0:160, 0:160]
    rays = projection.rays(np.stack([u, v], axis=-1))
    with np.errstate(divide="ignore"):
        t = (volume.origin[0] - projection.source[0]) / rays[..., 0]
    y, z = (projection.source[i] + t * rays[..., i] for i in (1, 2))
    index = [(p - volume.origin[i]) / 1e-3 for p, i in ((y, 1), (z, 2))]
    expected = np.mean(
        (index[0] > 29.5) & (index[0] < 69.5) & (index[1] > 19.5) & (index[1] < 59.5)
    )
    assert found == pytest.approx(expected, abs=5e-3)
    assert expected > 0.02 or abs(np.sin(primary)) < 0.1


def test_nothing_is_truncated_inside_air():
    hounsfield = np.full((60, 90, 60), -1000, np.int16)
    hounsfield[20:40, :, 20:40] = 0
    assert truncation(ct(hounsfield), carm(primary=0.4), np.zeros(3)) == 0.0
