"""Radiographs as backgrounds: the tissue that makes a file as dark as it is."""

import numpy as np
import pydicom
import pytest
from pydicom import uid

from mmdtwin.config import load_scenario
from mmdtwin.errors import UserError
from mmdtwin.frame import Frame, Projection
from mmdtwin.sim.scene import Scene
from mmdtwin.synth.xray import Imager
from mmdtwin.synth.xray.background_file import file_background
from mmdtwin.synth.xray.dicom import write_xa
from mmdtwin.synth.xray.materials import attenuation
from mmdtwin.synth.xray.spectrum import load_spectrum

SPECTRUM = "60kVp-3Al"


def config(*assignments):
    small = ("imager.detector.rows=64", "imager.detector.columns=96")
    tube = f"imager.spectrum={SPECTRUM}"
    return load_scenario("soft-sheet-bifurcation", [*small, tube, *assignments]).imager


def behind_tissue(thickness):
    """What 600 um of CsI at 75 % shows of a beam behind tissue, over that without: the sum."""
    spectrum = load_spectrum(SPECTRUM)
    weight = spectrum.photons * spectrum.energy * spectrum.absorbed(600e-6, 0.75)
    mu = attenuation("soft-tissue", spectrum.energy)
    return np.exp(-np.asarray(thickness)[..., None] * mu) @ weight / weight.sum()


def wedge(path, shape, pitch, thickness, primary=0.0, level=60000.0):
    """A 16-bit file of tissue whose thickness is a function of x at the isocentre, m."""
    view = Projection.from_carm(1.1, 0.75, pitch, shape, primary)
    u = (np.arange(shape[1]) - (shape[1] - 1) / 2) * view.pixel_size
    row = np.round(level * behind_tissue(thickness(u)))
    image = np.tile(row, (shape[0], 1)).astype(np.uint16)
    run = [Frame(image, 0, 0.0, 0.0, view)]
    write_xa(path, run, config("imager.detector.bits=16"))
    return u


def of_file(path, *assignments):
    kind = f"imager.background={{kind: file, path: {path}, thinnest: 0.02}}"
    return config(kind, *assignments)


@pytest.mark.parametrize("pitch", [0.15e-3, 0.3e-3, 0.5e-3])
def test_a_file_becomes_the_tissue_that_makes_it_as_dark(tmp_path, pitch):
    """A roof of 20 to 60 mm comes back where it is, whatever the file's pixels are.

    Tolerance: blur over a pixel of the coarser grid at the kinks
    is 4 x a quarter of its 0.34 mm at the isocentre.
    """
    path = tmp_path / "wedge.dcm"
    shape = (round(0.03 / pitch), round(0.045 / pitch))

    def thickness(x):
        return 0.02 + 4.0 * np.maximum(np.abs(x) - 3e-3, 0.0)

    wedge(path, shape, pitch, thickness)
    made = file_background(of_file(path))
    found = made.maps["soft-tissue"]
    assert found.shape == (64, 96)
    x = (np.arange(96) - 47.5) * 0.3e-3 * 0.75 / 1.1
    np.testing.assert_allclose(found[32], thickness(x), atol=0.35e-3)
    steps = np.diff(found[32][70:])
    np.testing.assert_allclose(steps, 4.0 * (x[1] - x[0]), atol=0.05e-3)


def test_beam_hardening_is_undone(tmp_path):
    """Not by one attenuation coefficient: that of the thin edge would give 8 % too little."""
    path = tmp_path / "wedge.dcm"
    wedge(path, (100, 160), 0.3e-3, lambda x: np.where(x > 0.0, 0.12, 0.02))
    found = file_background(of_file(path)).maps["soft-tissue"]
    np.testing.assert_allclose(found[:, 60:], 0.12, atol=0.2e-3)
    np.testing.assert_allclose(found[:, :35], 0.02, atol=0.2e-3)
    thin = -np.log(behind_tissue(0.021) / behind_tissue(0.02)) / 1e-3
    one = 0.02 + np.log(behind_tissue(0.02) / behind_tissue(0.12)) / thin
    assert abs(one - 0.12) > 5e-3


def test_the_gantry_is_the_files(tmp_path):
    path = tmp_path / "turned.dcm"
    wedge(path, (100, 160), 0.3e-3, lambda x: 0.05 + 0.0 * x, primary=0.4)
    pose = file_background(of_file(path)).pose
    assert (pose.primary, pose.secondary) == pytest.approx((0.4, 0.0), abs=1e-9)
    assert file_background(of_file(path, "imager.primary=0.4")).pose.primary == pytest.approx(0.4)
    with pytest.raises(UserError, match=r"imager.primary: -22.9 deg, but .* taken at 22.9 deg"):
        file_background(of_file(path, "imager.primary=-0.4"))


def test_a_radiograph_takes_the_configured_gantry_and_defaults(tmp_path):
    path = tmp_path / "chest.dcm"
    wedge(path, (100, 160), 0.3e-3, lambda x: 0.05 + 0.0 * x)
    data = pydicom.dcmread(path)
    data.SOPClassUID = uid.DigitalXRayImageStorageForProcessing
    data.PixelIntensityRelationshipSign = 1
    for keyword in (
        "DistanceSourceToPatient",
        "EstimatedRadiographicMagnificationFactor",
        "PositionerPrimaryAngle",
        "PositionerSecondaryAngle",
        "NumberOfFrames",
        "FrameTime",
    ):
        delattr(data, keyword)
    data.save_as(path)
    with pytest.raises(UserError, match=r"no DistanceSourceToPatient .0018,1111"):
        file_background(of_file(path))
    given = "imager.background.defaults={DistanceSourceToPatient: 750}"
    made = file_background(of_file(path, given, "imager.primary=0.25"))
    assert made.pose.primary == pytest.approx(0.25)
    np.testing.assert_allclose(made.maps["soft-tissue"], 0.02, atol=0.1e-3)  # all is brightest


def test_an_imager_shows_the_file_again(tmp_path):
    """Its frame, noise apart, is proportional to the file where neither blurs: on the plateaus.

    Scatter and heel are off: they are in a real file already. Tolerance: noise of the means over
    some 1500 px, and rounding.
    """
    path = tmp_path / "step.dcm"
    wedge(path, (100, 160), 0.3e-3, lambda x: np.where(x > 0.0, 0.06, 0.02))
    clean = ("imager.scatter_to_primary=0", "imager.heel=false", "imager.detector.lag=[]")
    bright = "imager.exposure.detector_dose=1e-6"
    imager = Imager(
        of_file(path, *clean, bright), np.random.default_rng(0), np.random.default_rng(1)
    )
    frame = imager.expose([Scene(0.0, ())])
    thin, thick = frame.image[8:-8, 8:32].mean(), frame.image[8:-8, 64:88].mean()
    assert thick / thin == pytest.approx(behind_tissue(0.06) / behind_tissue(0.02), rel=0.02)


def test_a_file_that_is_too_small_or_black_is_refused(tmp_path):
    path = tmp_path / "small.dcm"
    wedge(path, (60, 160), 0.3e-3, lambda x: 0.05 + 0.0 * x)
    with pytest.raises(UserError, match="12 mm high at the isocentre, and the imager sees 13 mm"):
        file_background(of_file(path))
    wedge(path, (100, 160), 0.3e-3, lambda x: 0.05 + 0.0 * x, level=0.0)
    with pytest.raises(UserError, match="black everywhere"):
        file_background(of_file(path))


@pytest.mark.parametrize("wrong", ["kind=file", "path=x.dcm", "thinnest=-1"])
def test_backgrounds_are_configured_whole(wrong):
    with pytest.raises(UserError, match=r"path|thinnest"):
        config(f"imager.background.{wrong}")
