"""Batches with torch: the same physics as the imager's full path, image by image."""

import sys

import numpy as np
import pytest
import torch

from mmdtwin.config.base import load
from mmdtwin.config.imager import ImagerConfig
from mmdtwin.errors import UserError
from mmdtwin.sim.scene import Scene
from mmdtwin.sim.shapes import Solids, Wire
from mmdtwin.synth.xray import Background, Imager, Pose
from mmdtwin.synth.xray.batch import BatchBody, render_batch
from mmdtwin.synth.xray.shadows import shadows

SHAPE = (96, 128)
QUIET = {"electronic_noise": 0.0, "lag": ()}


def configured(name="carm-fluoro", **detector):
    data = load(ImagerConfig, "imagers", name).model_dump()
    data["background"] = {"kind": "flat"}
    data["detector"] |= {"rows": SHAPE[0], "columns": SHAPE[1], **detector}
    data["collimator"] = {"opening": (0.03, 0.026)}
    return ImagerConfig.model_validate(data)


def backgrounds(n=3):
    v, u = np.mgrid[: SHAPE[0], : SHAPE[1]] / SHAPE[0]
    tissue = np.stack([0.1 + 0.03 * i + 0.01 * np.sin(9 * u + i) for i in range(n)])
    bone = np.stack([0.004 * i * (1 + np.sin(11 * v)) for i in range(n)])
    return {"soft-tissue": tissue.astype(np.float32), "bone": bone.astype(np.float32)}


def bodies():
    """A wire under a sheet: two materials on one ray."""
    wire = Wire(np.array([[-3e-3, -2e-3, 4e-3], [3e-3, 2e-3, 4e-3]]), 0.2e-3, "steel")
    sheet = Solids(
        np.zeros((1, 3)), np.eye(3)[None], np.array([[1.85e-3, 0.75e-3, 0.1e-3]]), "ndfeb-silicone"
    )
    return wire, sheet


def whole(shadow, n):
    path, share = np.zeros((2, *SHAPE), np.float32)
    path[shadow.window], share[shadow.window] = shadow.path, shadow.share
    return BatchBody(
        shadow.material, shadow.displaces, np.stack([path] * n), np.stack([share] * n),
        round(shadow.magnification, 2),
    )  # fmt: skip


@pytest.mark.parametrize("path, tolerance", [("full", 2e-4), ("fast", 2e-3)])
def test_mean_images_are_those_of_the_imager(path, tolerance):
    """Full: sums of 60 terms in single precision and two ways to scale the scatter. Fast: a fifth
    of a per cent of the device's contrast, which cumulants may differ by."""
    config, maps = configured(), backgrounds()
    config = config.model_copy(update={"path": path})
    wire, sheet = bodies()
    scene = Scene(0.0, (sheet,), (wire,))
    expected, cast = [], None
    for i in range(3):
        layers = {name: m[i] for name, m in maps.items()}
        rng = np.random.default_rng(0)
        imager = Imager(config, rng, rng, background=Background(layers, Pose()))
        cast = cast or shadows((wire, sheet), imager.projection, lambda _: 8)
        frame = imager.expose([scene])
        assert frame.dose == pytest.approx(config.exposure.detector_dose)
        arriving = imager.arriving([scene]).mean * np.float32(imager.exposure.charge)
        expected.append(imager.blur(arriving) * np.float32(imager.gain))
    got = render_batch(config, maps, [whole(s, 3) for s in cast], noise=False).numpy()
    assert np.abs(got / np.stack(expected) - 1).max() < tolerance


def test_noise_has_the_imagers_variance_and_follows_the_seed():
    """Relative standard deviation against that of many frames of an imager, 2 % (16 frames of
    96 x 128 pixels with blurred noise: a standard error of 0.4 %)."""
    config = configured(**QUIET, blur=0.0)
    maps = {name: np.repeat(m[:1], 16, axis=0) for name, m in backgrounds().items()}
    first, again, other = (render_batch(config, maps, seed=s).numpy() for s in (1, 1, 2))
    assert np.array_equal(first, again) and not np.array_equal(first, other)
    mean = render_batch(config, maps, noise=False).numpy()[0]
    rng = np.random.default_rng(0)
    imager = Imager(
        config, rng, rng, background=Background({k: m[0] for k, m in maps.items()}, Pose())
    )
    inside = np.s_[20:-20, 20:-20]
    spread = ((first - mean) ** 2).mean(axis=0)[inside].mean()
    assert spread == pytest.approx(
        (imager.variance() * imager.gain**2)[inside].mean() + 1 / 12, rel=0.02
    )


def test_few_quanta_are_poisson():
    """Behind lead the skewness is that of few quanta, 1/sqrt(mean)."""
    config = configured(**QUIET, blur=0.0, bits=16)
    config = config.model_copy(update={"scatter_to_primary": 0.0})
    maps = {name: np.repeat(m[:1], 32, axis=0) for name, m in backgrounds().items()}
    corner = np.s_[:, :6, :6]
    drawn = render_batch(config, maps).numpy()[corner].astype(float)
    rng = np.random.default_rng(0)
    imager = Imager(
        config, rng, rng, background=Background({k: m[0] for k, m in maps.items()}, Pose())
    )
    assert imager.signal()[corner[1:]].max() < 5.0
    number = float((imager.signal() ** 2 / imager.variance())[corner[1:]].mean())
    deviation = drawn - drawn.mean(axis=0)
    skew = (deviation**3).mean() / (deviation**2).mean() ** 1.5
    assert skew == pytest.approx(1 / np.sqrt(number), rel=0.25)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="this machine has no CUDA device")
def test_a_gpu_gives_the_cpus_images():
    config, maps = configured(), backgrounds()
    expected, got = (
        render_batch(config, maps, noise=False, device=d).cpu().numpy() for d in ("cpu", "cuda")
    )
    assert np.abs(got / expected - 1).max() < 2e-4


def test_bad_batches():
    config, maps = configured(), backgrounds()
    with pytest.raises(UserError, match="must be \\(n, 96, 128\\)"):
        render_batch(config, {"bone": np.zeros((2, 4, 4))})
    with pytest.raises(UserError, match="as many each"):
        render_batch(config, maps | {"water": np.zeros((1, *SHAPE))})
    with pytest.raises(UserError, match="finite"):
        render_batch(config, {"bone": np.full((1, *SHAPE), np.nan)})
    with pytest.raises(UserError, match="device 'abacus'"):
        render_batch(config, maps, device="abacus")
    tube = config.detector.model_copy(update={"intensifier": {}})
    with pytest.raises(UserError, match="flat panels only"):
        render_batch(config.model_copy(update={"detector": tube}), maps)


def test_without_torch(monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(UserError, match="needs torch"):
        render_batch(configured(), backgrounds())
