"""The imager: order of physics, noise laws, blur, scatter, determinism, visibility."""

from dataclasses import dataclass

import numpy as np
import pytest

from mmdtwin.config.base import load, names
from mmdtwin.config.imager import ImagerConfig
from mmdtwin.geometry import transform
from mmdtwin.sim.scene import Scene
from mmdtwin.sim.shapes import Solids
from mmdtwin.synth.xray import Imager, detectability
from mmdtwin.synth.xray.background import bank_background, bank_poses

LENGTH, WIDTH, THICKNESS = 3.7e-3, 1.5e-3, 0.185e-3  # m, the reference soft sheet
LINKS = 10


@dataclass
class Sheet:
    """A world of a straight sheet, face on to the vertical beam."""

    position: tuple = (0.0, 0.0, 0.0)
    time: float = 0.0
    thickness: float = THICKNESS

    def solids(self):
        x = (np.arange(LINKS) + 0.5) / LINKS * LENGTH - LENGTH / 2
        centre = np.stack([x, 0 * x, 0 * x], axis=1) + np.array(self.position)
        half = np.tile([LENGTH / LINKS / 2, WIDTH / 2, self.thickness / 2], (LINKS, 1))
        rotation = np.repeat(np.eye(3)[None], LINKS, axis=0)
        return Solids(centre, rotation, half, "ndfeb-silicone")

    def device(self):
        return (self.solids(),)

    def scene(self):
        return Scene(self.time, self.device())


def configured(name="flat-phantom", **changes):
    """A preset with other values; those of a part as a dict."""
    data = load(ImagerConfig, "imagers", name).model_dump()
    for key, value in changes.items():
        data[key] = data[key] | value if isinstance(data[key], dict) else value
    return ImagerConfig.model_validate(data)


def make(config, noise_seed=1, **kwargs):
    return Imager(config, np.random.default_rng(0), np.random.default_rng(noise_seed), **kwargs)


AWAY = Sheet(position=(1.0, 0.0, 0.0))


@pytest.mark.parametrize("name", names("imagers"))
def test_presets_load_and_render(name):
    config = configured(name)
    frame = make(config).render(Sheet(time=0.25), seq=7)
    assert frame.image.shape == (512, 512) and frame.image.dtype == np.uint16
    assert frame.image.max() <= 4095
    assert (frame.seq, frame.t_exposure) == (7, 0.25)
    assert frame.t_received == pytest.approx(0.25 + config.latency)
    # The first frame is settled on what it shows.
    assert frame.dose == pytest.approx(config.exposure.detector_dose, rel=1e-6)
    assert frame.reference_kerma > frame.dose and frame.dap > 0.0


def test_same_seed_same_image():
    config = configured("carm-fluoro")
    first, second = (make(config).render(Sheet()).image for _ in range(2))
    assert np.array_equal(first, second)
    imager = make(config)
    frames = [imager.render(Sheet()).image for _ in range(2)]
    assert np.array_equal(frames[0], first) and not np.array_equal(frames[0], frames[1])
    assert not np.array_equal(make(config, noise_seed=2).render(Sheet()).image, first)


def test_frames_carry_the_calibrated_geometry_and_show_the_true_one():
    """The gantry is really 2 mm off in x: the shadow moves by 2 mm / pixel size, the frame's
    projection does not know."""
    true = transform(translation=[2e-3, 0, 0])
    imager = make(configured(), T_world_imager=true)
    assert imager.render(Sheet()).projection is imager.calibrated
    shadow = 1.0 - imager.signal(Sheet(thickness=2e-3).device()) / imager.signal()
    v, u = np.mgrid[0:512, 0:512]
    found = np.array([(u * shadow).sum(), (v * shadow).sum()]) / shadow.sum()
    assert found == pytest.approx(imager.projection.project(np.zeros(3)), abs=0.03)
    offset = imager.calibrated.project(np.zeros(3))[0] - found[0]
    assert offset == pytest.approx(2e-3 / imager.projection.pixel_size, abs=0.05)


def test_gantry_takes_the_angles_of_the_bank():
    imager = make(configured("carm-fluoro"))
    pose = imager.background.pose
    assert pose in bank_poses()
    assert imager.projection.axes[2] == pytest.approx(
        [-np.sin(pose.primary) * np.cos(pose.secondary), np.sin(pose.secondary),
         -np.cos(pose.primary) * np.cos(pose.secondary)]
    )  # fmt: skip


def test_device_shadow_is_polyenergetic():
    """Under the middle of a face-on slab the transmission is the direct sum over the spectrum.

    1e-4 for the slant of the ray beside the central one and for single precision.
    """
    config = configured(scatter_to_primary=0.0, path="full", focal_spot=0.0)
    imager, thickness = make(config), 1e-3
    scene = Sheet(thickness=thickness)
    ratio = imager.signal(scene.device())[256, 256] / imager.signal()[256, 256]
    beam = imager.beam
    energy, photons = beam.spectrum.energy, beam.spectrum.photons
    weight = photons * beam.spectrum.absorbed(600e-6, 0.75) * energy
    weight *= np.exp(-beam.mu("soft-tissue") * config.background.thickness)
    slab = np.exp(-beam.mu("ndfeb-silicone", "blood") * thickness)
    expected = weight @ slab / weight.sum()
    assert ratio == pytest.approx(expected, rel=1e-4)


def test_scatter_has_the_configured_mean_and_dilutes_contrast():
    """C_s = C / (1 + SPR (1 + C)) on a flat background, where scatter is uniform.

    The configured ratio is that in front of the grid, which lets .70 and .12 of both pass.
    """
    for ratio in (0.5, 2.0):
        imager = make(configured("carm-fluoro", scatter_to_primary=ratio))
        behind = ratio * 0.12 / 0.70
        assert imager.scatter.mean() / imager.primary.mean() == pytest.approx(behind, rel=1e-3)
        smooth = np.abs(np.diff(imager.scatter, axis=1)).max() / imager.scatter.mean()
        assert smooth < 0.01
    device = Sheet().device()
    contrasts = []
    for ratio in (0.0, 1.0):
        imager = make(configured(scatter_to_primary=ratio))
        with_device, without = imager.signal(device)[256, 256], imager.signal()[256, 256]
        contrasts.append((without - with_device) / (without + with_device))
    here = imager.scatter[256, 256] / imager.primary[256, 256]
    assert here == pytest.approx(1.0, rel=0.03)  # the beam is weaker towards the edges
    expected = contrasts[0] / (1.0 + here * (1.0 + contrasts[0]))
    assert contrasts[1] == pytest.approx(expected, rel=1e-3)


def grey_noise(imager, frames=6):
    stack = np.stack([imager.render(AWAY).image.astype(float) for _ in range(frames)])
    return stack / imager.gain


def test_dose_sets_the_noise():
    """Absorbed quanta = dose x photons per dose x absorption x pixel area; variance = mean (times
    the spread of photon energies). Six frames of 512^2: sd of the variance 0.1 %; rounding and
    saturation are off."""
    variances, means = [], []
    for dose in (50e-9, 200e-9):
        config = configured(
            exposure={"detector_dose": dose},
            detector={"blur": 0.0, "electronic_noise": 0.0, "bits": 16},
        )
        imager = make(config)
        quanta = grey_noise(imager)
        variances.append(quanta.var(axis=0, ddof=1).mean())
        means.append(quanta.mean())
        assert means[-1] == pytest.approx(imager.signal().mean(), rel=1e-3)
        assert variances[-1] == pytest.approx(imager.variance().mean(), rel=0.01)
    assert variances[1] / variances[0] == pytest.approx(4.0, rel=0.01)
    assert means[1] / means[0] == pytest.approx(4.0, rel=1e-3)


def test_number_of_quanta():
    """200 nGy on 0.3 mm pixels at 80 kVp with copper: about 420 absorbed quanta without a patient
    (2.7e4 per mm2 and uGy x 0.87), 5 % for the air table and the rounding of both factors.

    The imager counts in quanta of the energy that gives the right noise, a few per cent above the
    mean: turned back to photons here.
    """
    config = configured(
        exposure={"detector_dose": 200e-9, "measuring_field": 0.1},
        spectrum="80kVp-2.5Al-0.2Cu",
        scatter_to_primary=0.0,
        background={"thickness": 1e-6},
    )
    imager, spectrum = make(config), make(config).beam.spectrum
    absorbed = spectrum.photons * spectrum.absorbed(600e-6, 0.75)
    mean_energy = absorbed @ spectrum.energy / absorbed.sum()
    middle = imager.signal()[240:272, 240:272].mean()
    photons = middle * imager.quantum_energy / mean_energy
    assert photons == pytest.approx(420, rel=0.05)


def test_electronic_noise_is_white_and_quantum_noise_is_blurred():
    """Noise power spectrum = variance x response^2 + electronic variance, in rings, 3 %."""
    electronic = 12.0
    imager = make(configured(detector={"electronic_noise": electronic, "bits": 16}))
    frames = grey_noise(imager, 12)
    frames -= frames.mean(axis=0)
    power = (np.abs(np.fft.fft2(frames)) ** 2).mean(axis=0) / frames[0].size * 12 / 11
    response = imager.blur.response((512, 512))
    expected = imager.variance().mean() * response**2 + electronic**2
    f = np.hypot(*np.meshgrid(np.fft.fftfreq(512), np.fft.fftfreq(512)))
    for low, high in ((0.02, 0.1), (0.2, 0.25), (0.4, 0.5)):
        ring = (f >= low) & (f < high)
        assert power[ring].mean() == pytest.approx(expected[ring].mean(), rel=0.03)


def test_bright_parts_saturate():
    config = configured(detector={"electronic_noise": 0.0})
    assert make(config).render(AWAY).image.max() < 4095
    imager = make(
        configured("carm-fluoro"), background=bank_background(configured("carm-fluoro"), 5)
    )
    image, expected = imager.render(AWAY).image, imager.expected()
    assert np.all(image[expected > 6000] == 4095)


def test_matched_filter_reaches_the_computed_detectability():
    """Run the prewhitened matched filter on real frames: (mean with - mean without) / sd = d'.

    200 frames each: the standard error of d' is about 5-6 % at d' 5: 15 % allowed.
    """
    config = configured(exposure={"detector_dose": 40e-9}, detector={"rows": 64, "columns": 64})
    imager, scene = make(config), Sheet()
    d = detectability(imager, scene.device())
    signal = imager.expected() - imager.expected(scene.device())
    response = imager.blur.response(signal.shape)
    power = imager.variance().mean() * response**2 + config.detector.electronic_noise**2
    template = np.fft.ifft2(np.fft.fft2(signal) / power).real
    clear, shadowed = (
        np.array([(template * imager.render(s).image).sum() for _ in range(200)])
        for s in (AWAY, scene)
    )
    spread = np.sqrt((clear.var(ddof=1) + shadowed.var(ddof=1)) / 2)
    measured = (clear.mean() - shadowed.mean()) / spread
    assert measured == pytest.approx(d.d_prime, rel=0.15)


def test_default_imager_shows_the_soft_sheet():
    """Face on at the isocentre: median d' of at least 8 over the bank, in each at least 4.5, where
    a searching ideal observer finds half of all devices."""
    config, found = configured("carm-fluoro"), []
    for index in range(len(bank_poses())):
        imager = make(config, background=bank_background(config, index))
        found.append(detectability(imager, Sheet().device()))
    values = [f.d_prime for f in found]
    assert np.median(values) >= 8.0 and min(values) > 4.5
    # Gaussian noise needs some 30 quanta per pixel.
    assert min(f.quanta for f in found) > 100
    assert all(f.contrast < f.contrast_primary < 0.06 for f in found)


def test_device_outside_is_not_detectable():
    assert detectability(make(configured()), AWAY.device()).d_prime == 0.0
