"""What is remembered and what is not: scenes, motion, exposure control, distortion, noise.

That both paths agree, and the statistics of the noise, are checks (`synth/xray/checks/paths.py`).
"""

import multiprocessing
from dataclasses import replace

import numpy as np
import pytest
import trimesh

from mmdtwin.config.base import load
from mmdtwin.config.imager import ImagerConfig
from mmdtwin.errors import UserError
from mmdtwin.sim.scene import Scene
from mmdtwin.sim.shapes import Mesh, Solids, Wire
from mmdtwin.synth.xray import Background, Imager, Pose
from mmdtwin.synth.xray.anatomy import Anatomy
from mmdtwin.synth.xray.fast import FastPath
from mmdtwin.synth.xray.noise import Noise

SHAPE = (128, 128)
PIXEL = 0.3e-3 * 0.75 / 1.1  # m at the isocentre
PERIOD = 1 / 15  # s


def configured(name="flat-phantom", **changes):
    data = load(ImagerConfig, "imagers", name).model_dump()
    data["detector"] |= {"rows": SHAPE[0], "columns": SHAPE[1]}
    for key, value in changes.items():
        data[key] = data[key] | value if isinstance(data[key], dict) else value
    return ImagerConfig.model_validate(data)


def make(config, seed=0, tissue=None):
    background = None
    if tissue is not None:
        background = Background({"soft-tissue": tissue.astype(np.float32)}, Pose())
    rngs = np.random.default_rng(seed), np.random.default_rng(seed)
    return Imager(config, *rngs, background=background)


def ball(x=0.0, y=0.0, z=0.0, radius=1e-3, material="steel", displaces="blood"):
    solids = Solids.balls(np.array([[x, y, z]]), np.array([radius]), material)
    return replace(solids, displaces=displaces)


def scene(*device, time=0.0, **others):
    return Scene(time, device, **others)


def centroid(weights):
    v, u = np.mgrid[: weights.shape[0], : weights.shape[1]]
    return np.array([(u * weights).sum(), (v * weights).sum()]) / weights.sum()


def waves():
    v, u = np.mgrid[: SHAPE[0], : SHAPE[1]]
    return 0.1 + 0.01 * np.sin(u / 7) * np.cos(v / 9)


@pytest.mark.parametrize("path", ["fast", "full"])
def test_anatomy_moves_by_its_displacement_and_the_device_does_not(path):
    """By whole pixels the background is the same one moved; a shadow stays where the device is."""
    imager = make(configured(path=path, heel=False, scatter_to_primary=0.0), tissue=waves())
    moved = np.array([3 * PIXEL, -5 * PIXEL, 0.0])  # v points along -y
    rest, gone = (imager.arriving([scene(displacement=d)]).mean for d in (np.zeros(3), moved))
    flat = make(configured(path=path, heel=False, scatter_to_primary=0.0)).signal()
    rest, gone = rest / flat, gone / flat  # the beam's own profile stays
    assert np.allclose(gone[20:-20, 20:-20], rest[15:-25, 17:-23], rtol=1e-4)
    plain = imager.arriving([scene(displacement=moved)]).mean
    shadow = 1 - imager.arriving([scene(ball(), displacement=moved)]).mean / plain
    assert centroid(shadow) == pytest.approx(imager.projection.project(np.zeros(3)), abs=0.02)


def test_what_does_not_move_is_computed_once(monkeypatch):
    imager, wire = make(configured()), Wire(np.array([[-5e-3, 0, 0], [5e-3, 0, 0]]), 2e-4, "steel")
    calls = []
    behind = FastPath.behind
    monkeypatch.setattr(FastPath, "behind", lambda *a: calls.append(a) or behind(*a))
    for step in range(3):
        imager.arriving([scene(ball(x=step * 1e-3), instruments=(wire,))])
    assert len(calls) == 1
    imager.arriving([scene(instruments=(wire,), displacement=np.array([1e-3, 0, 0]))])
    assert len(calls) == 2
    imager.arriving([scene(instruments=(ball(),))])
    assert len(calls) == 3


def test_cumulants_are_computed_where_bodies_are():
    imager = make(configured())
    imager.signal([ball(radius=0.1e-3)])
    cumulants = imager._optics._base.rest.path._cumulants["steel", "blood"]
    assert 1 <= cumulants._known.sum() <= 4


def test_moments_of_a_pulse_are_averaged():
    imager = make(configured())
    moments = [scene(ball(x=x), time=x) for x in (0.0, 1e-3, 2e-3)]
    single = np.mean([imager.arriving([m]).mean for m in moments], axis=0)
    assert np.allclose(imager.arriving(moments).mean, single, rtol=1e-5)
    assert imager.expose(moments).t_exposure == pytest.approx(1e-3)
    moving = [scene(displacement=np.array([d, 0, 0])) for d in (0.0, 1e-3)]
    pulse = make(configured(), tissue=waves())
    single = np.mean([pulse.arriving([m]).mean for m in moving], axis=0)
    assert np.allclose(pulse.arriving(moving).mean, single, rtol=1e-5)
    with pytest.raises(UserError, match="at least one moment"):
        imager.expose([])


def test_contents_displace_tissue_and_bodies_displace_contents():
    """An air bubble in contrast medium is as if the medium were not there, but for the tissue."""
    vessel = trimesh.creation.cylinder(1.5e-3, 12e-3).apply_transform(
        trimesh.transformations.rotation_matrix(np.pi / 2, [0, 1, 0])
    )
    lumen = Mesh(np.asarray(vessel.vertices), vessel.faces, "iodine:300", "soft-tissue")
    imager = make(configured(scatter_to_primary=0.0))
    middle = (64, 64)
    empty = imager.arriving([scene()]).mean[middle]
    filled = imager.arriving([scene(lumen=lumen)]).mean[middle]
    assert 0.2 < filled / empty < 0.5
    bubble = ball(radius=1.5e-3, material="soft-tissue", displaces="iodine:300")
    restored = imager.arriving([scene(bubble, lumen=lumen)]).mean[middle]
    assert restored == pytest.approx(empty, rel=0.02)  # the pixel beside the thickest ray
    assert imager.arriving([scene()]).mean[middle] == empty


def test_exposure_control_reacts_to_what_comes_into_its_field():
    """Contrast fills the field: the dose falls with the signal, then the error is made up by 63 %
    in `control_time`; by hand the charge stays."""
    control = {"detector_dose": 200e-9, "control_time": 0.2}
    imager = make(configured(exposure=control))
    plate = Solids(
        np.zeros((1, 3)), np.eye(3)[None], np.array([[20e-3, 20e-3, 1e-3]]), "iodine:300"
    )
    frames = [imager.expose([scene(time=i * PERIOD)]) for i in range(3)]
    assert [f.dose for f in frames] == pytest.approx([200e-9] * 3)
    frames = [imager.expose([scene(plate, time=i * PERIOD)]) for i in range(3, 24)]
    doses = np.array([f.dose for f in frames])
    assert doses[0] < 150e-9
    missing = (200e-9 - doses) / (200e-9 - doses[0])
    assert missing[1:6] == pytest.approx(np.exp(-np.arange(1, 6) * PERIOD / 0.2), rel=1e-3)
    assert frames[-1].reference_kerma / frames[0].reference_kerma == pytest.approx(
        200e-9 / doses[0], rel=0.01
    )
    by_hand = make(configured(exposure={"detector_dose": None, "charge": 0.05}))
    kermas = [by_hand.expose([scene(*d)]).reference_kerma for d in ((), (plate,), (plate,))]
    assert kermas == pytest.approx([kermas[0]] * 3)


def test_intensifier_bends_shadows_as_its_projection_says():
    config = load(ImagerConfig, "imagers", "flat-phantom").model_dump()
    config["detector"] |= {"rows": 256, "columns": 256, "pitch": 0.6e-3, "intensifier": {}}
    imager = make(ImagerConfig.model_validate(config | {"scatter_to_primary": 0.0}))
    place = np.array([0.025, 0.02, 0.0])
    plain = imager.signal()
    assert plain[0, 0] == 0.0
    shadow = (plain - imager.signal([ball(*place)])) / np.maximum(plain, 1.0)
    found = centroid(shadow)
    assert found == pytest.approx(imager.projection.project(place), abs=0.1)
    assert np.linalg.norm(found - imager.projection.ideal.project(place)) > 1.0
    frame = imager.expose([scene(ball(*place))])
    assert np.isfinite(frame.image.astype(float)).all() and frame.dose > 0.0


def test_collimator_darkens_and_its_field_must_be_measurable():
    lead = {"opening": (0.02, 0.02), "leakage": 2e-3}
    imager = make(configured(collimator=lead, scatter_to_primary=0.0))
    ratio = imager.signal()[2, 2] / imager.signal()[64, 64]
    assert ratio == pytest.approx(2e-3, rel=0.1)
    assert imager.expose([scene()]).dose == pytest.approx(200e-9)
    aside = {"opening": (0.005, 0.005), "centre": (0.017, 0.017)}
    with pytest.raises(UserError, match="closed where exposure control measures"):
        make(configured(collimator=aside))


def test_penumbra_grows_with_magnification():
    """The blur of an edge nearer to the source is wider: f (m - 1)."""
    imager = make(configured(focal_spot=1.2e-3, scatter_to_primary=0.0))
    widths = []
    for z in (0.0, 0.25):
        magnification = 1.1 / (0.75 - z)
        half = np.array([[10e-3, 5e-3, 1e-4]])
        plate = Solids(np.array([[10e-3, 0, z]]), np.eye(3)[None], half, "steel")
        edge = (imager.signal([plate]) / imager.signal())[64]
        slope = -np.gradient(edge)
        u = np.arange(len(edge))
        middle = (u * slope).sum() / slope.sum()
        near = np.abs(u - middle) < 12
        spread = ((u - middle) ** 2 * slope)[near].sum() / slope[near].sum()
        # Besides: the pixel, and the difference over two pixels that the gradient takes.
        widths.append((spread - 1 / 12 - 4 / 12) * 12 / (1.2e-3 / 0.3e-3) ** 2)
        assert np.sqrt(widths[-1]) == pytest.approx(magnification - 1, rel=0.1)


def test_lag_fades_in_a_pause():
    """After a pause of many time constants no ghost is left; after one frame there is."""
    lag = ({"share": 0.4, "time": 0.2},)
    detector = {"lag": lag, "electronic_noise": 0.0}
    config = configured(detector=detector, exposure={"detector_dose": None, "charge": 0.3})
    ghosts = []
    for pause in (1, 60):
        imager, quiet = make(config), make(config)
        for i in range(10):
            imager.expose([scene(ball(radius=2e-3), time=i * PERIOD)])
            quiet.expose([scene(time=i * PERIOD)])
        t = (9 + pause) * PERIOD
        frames = [i.expose([scene(time=t)]).image.astype(float) for i in (imager, quiet)]
        core = np.s_[60:68, 60:68]
        ghosts.append(1 - frames[0][core].mean() / frames[1][core].mean())
    assert ghosts[0] > 0.1
    assert abs(ghosts[1]) < 0.03


def test_swank_factor_adds_to_the_variance():
    plain, spread = (make(configured(detector={"swank": s})).variance() for s in (1.0, 0.8))
    assert np.allclose(spread / plain, 1 / 0.8, rtol=1e-5)


def test_noise_is_the_same_in_any_process():
    """A forked process has no copy of the threads; it makes its own."""
    config, here = configured(), scene(ball())
    expected = make(config).expose([here]).image  # starts the threads of this process
    with multiprocessing.get_context("fork").Pool(1) as pool:
        image = pool.apply_async(_exposed, (config, here)).get(timeout=60)
    assert np.array_equal(image, expected)


def _exposed(config, here):
    return make(config).expose([here]).image


def test_no_quanta_no_noise():
    noise, dark = Noise(np.random.default_rng(0)), np.zeros((8, 8), np.float32)
    assert not noise.quantum(dark, dark, 1.0).any()
    assert not noise.compound(dark, dark, dark, 1.0).any()


def test_bad_backgrounds():
    rng, config = np.random.default_rng(0), configured()
    for maps, message in (
        ({}, "no map"),
        ({"bone": np.zeros((4, 4), np.float32)}, "map of bone is"),
        ({"bone": np.full(SHAPE, np.inf, np.float32)}, "thickness of bone"),
        ({"phlogiston": np.zeros(SHAPE, np.float32)}, "phlogiston"),
    ):
        with pytest.raises(UserError, match=message):
            Imager(config, rng, rng, background=Background(maps, Pose()))


@pytest.mark.parametrize("path", ["fast", "full"])
def test_extremes_give_images(path):
    """A wall of lead, next to nothing in the beam, hardly any dose, the anode's shadow."""
    bodies = ball(material="platinum"), ball(x=1e-3), ball(y=1e-3, material="air")
    wall = np.full(SHAPE, 1e-6)
    wall[:64] = 3.0
    for tissue, changes in (
        (wall, {}),
        (np.zeros(SHAPE), {}),
        (None, {"exposure": {"detector_dose": 1e-11}}),
        (None, {"detector": {"rows": 2048, "columns": 64}}),
    ):
        imager = make(configured(path=path, **changes), tissue=tissue)
        signal, variance = imager.signal(bodies), imager.variance(bodies)
        assert np.isfinite(signal).all() and np.isfinite(variance).all()
        assert signal.min() >= 0.0 and variance.min() >= 0.0
        assert imager.expose([scene(*bodies)]).image.any()


def test_anatomy_is_looked_up_where_it_has_moved_to():
    thickness = np.arange(12, dtype=np.float32).reshape(1, 3, 4)
    anatomy = Anatomy(np.ones((1, 2)), thickness)
    rows, columns = np.array([1, 2]), np.array([1, 3])
    ((_, found),) = anatomy.at(rows, columns, (1.2, -0.9))
    assert found.tolist() == [8.0, 10.0]
