"""Devices in radiographs, with a drawn plate in place of the files, which are fetched."""

import json

import cv2
import numpy as np
import pytest

from mmdtwin.synth.dataset import radiographs as module
from mmdtwin.synth.dataset.radiographs import SIDE, crops, d_prime, write_radiographs


@pytest.fixture
def plates(monkeypatch):
    """A wedge of tissue with noise, as -log T of a plate."""
    noise = np.random.default_rng(0).normal(0.0, 0.01, (800, 900))
    wedge = np.linspace(0.0, 4.0, 900)[None] + noise
    monkeypatch.setattr(module, "radiographs", lambda: {"wedge": wedge.astype(np.float32)})


@pytest.mark.usefixtures("plates")
def test_only_the_device_is_taken_off_the_plate(monkeypatch):
    with_device = list(crops(1, 1))
    monkeypatch.setattr(module.Compositor, "draw_devices", lambda *_: [])
    without = [image for image, _, _ in crops(1, 1)]
    for (shown, instances, _), plain in zip(with_device, without, strict=True):
        lost = plain.astype(int) - shown.astype(int)
        r0, r1, c0, c1 = instances[0].footprint.roi
        assert lost[r0:r1, c0:c1].max() > 0
        far = np.ones(lost.shape, bool)
        far[max(r0 - 30, 0) : r1 + 30, max(c0 - 30, 0) : c1 + 30] = False
        assert np.abs(lost[far]).max() <= 1


def test_d_prime_is_of_the_plates_own_noise():
    """White noise: d' is the root of the signal's energy over the variance."""
    rng = np.random.default_rng(0)
    v, u = np.indices((SIDE, SIDE))
    taken = -0.05 * np.exp(-((u - 200) ** 2 + (v - 240) ** 2) / (2 * 2.0**2))
    expected = np.sqrt((taken**2).sum()) / 0.01
    found = d_prime(rng.normal(0.0, 0.01, (SIDE, SIDE)), taken, (200.0, 240.0))
    assert found == pytest.approx(expected, rel=0.1)


@pytest.mark.usefixtures("plates")
def test_labels_are_written_beside_the_images(tmp_path):
    path = write_radiographs(tmp_path, 2, 1)
    labels = json.loads(path.read_text())
    assert [each["file_name"] for each in labels["images"]] == [
        "images/00000.png",
        "images/00001.png",
    ]
    assert all(each["d_prime"] > 0.0 for each in labels["annotations"])
    image = cv2.imread(str(tmp_path / "images/00000.png"), cv2.IMREAD_UNCHANGED)
    assert image.shape == (SIDE, SIDE)
    assert image.max() <= 4095
