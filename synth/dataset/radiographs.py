"""Devices in real radiographs: a first test on images that no twin has made.

A computed radiograph stores a number that rises with the logarithm of the exposure. So a device,
which lets a share r of the rays through, takes log r off: r is what the imager makes of the device
before tissue as thick as the radiograph says it is, blur and scatter included. Noise, anatomy and
structure stay the radiograph's own. Nothing is trained or tuned on these images, and they are never
shipped: the files are fetched by pinned hash.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from mmdtwin.config import load
from mmdtwin.config.randomisation import RandomisationConfig
from mmdtwin.files import replacing, writable_dir, write_json
from mmdtwin.geometry import Image
from mmdtwin.seeding import stream
from mmdtwin.synth.background.evaluate.radiographs import PITCH, RIM, radiographs
from mmdtwin.synth.compositor.compositor import Compositor
from mmdtwin.synth.compositor.labels import Instance
from mmdtwin.synth.compositor.view import View, draw_imager
from mmdtwin.synth.dataset.coco import coco
from mmdtwin.synth.xray.background import Background, Pose
from mmdtwin.synth.xray.background_file import TISSUE, tissue
from mmdtwin.synth.xray.imager import Imager

SIDE, PIXEL = 512, 0.2e-3  # px and m of a crop
COUNT, SEED = 200, 2026
# Decades of exposure over the stored range of a computed radiograph; usual latitudes are 2 to 4,
# and the files do not say. A lower one would make devices fainter than they are. Assumed.
DECADES = 2.0
BITS = 12  # of what is written
NOISE_TILE, TILES = 64, 5  # px, of the pieces around a device that its noise is measured in
SPLIT = "test"


def write_radiographs(
    folder: str | Path,
    count: int = COUNT,
    seed: int = SEED,
    progress: Callable[[int], None] | None = None,
) -> Path:
    """Write crops of radiographs with a device in each, and COCO's annotations of them.

    Parameters
    ----------
    folder : path
    count : int
    seed : int
    progress : callable, optional
        Called with the number of crops that are written.

    Returns
    -------
    Path
        The file of annotations.

    Raises
    ------
    UserError
        If the radiographs cannot be fetched, or the folder cannot be written.
    """
    folder = Path(folder)
    writable_dir(folder)
    (folder / "images").mkdir(exist_ok=True)
    records = []
    for number, (image, instances, view) in enumerate(crops(count, seed)):
        file = f"images/{number:05d}.png"
        with replacing(folder / file) as part:
            cv2.imwrite(str(part), image)
        projection = view.imager.projection
        records.append(
            {
                "id": number,
                "file": file,
                "flow": None,
                "height": SIDE,
                "width": SIDE,
                "about": view.about,
                "instances": [each.record(projection) for each in instances],
            }
        )
        if progress is not None:
            progress(number + 1)
    path = folder / f"coco-{SPLIT}.json"
    write_json(path, coco(records))
    return path


def crops(count: int, seed: int) -> Iterator[tuple[NDArray[np.uint16], list[Instance], View]]:
    """Yield crops (SIDE, SIDE), grey levels, with their devices, radiographs in turn."""
    config = load(RandomisationConfig, "randomisation", "radiographs")
    compositor = Compositor(config, seed)
    logs = {name: _log(image) for name, image in radiographs().items()}
    for number in range(count):
        name = list(logs)[number % len(logs)]
        rng = stream(seed, "radiograph-crop", number)
        log = _crop(rng, logs[name])
        imager_config = draw_imager(config, rng, "flat")
        depth = tissue(imager_config, np.exp(log), 0.0)
        background = Background({TISSUE: depth}, Pose(0.0, 0.0, name=name))
        imager = Imager(imager_config, rng, rng, background=background)
        about = {"view": number, "background": "radiograph", "background_name": name,
                 "pixel_size": imager.projection.pixel_size, "bits": BITS}  # fmt: skip
        shape = imager.projection.shape
        view = View(imager, (), np.zeros(shape, bool), np.ones(shape, bool), about)
        found = compositor.draw_devices(view, rng, 1)
        bodies = tuple(body for each in found for body in each.device.bodies)
        clear, shadowed = (
            imager.blur(imager.arriving([view.scene(0.0, b)]).mean) for b in ((), bodies)
        )
        taken = np.log(np.maximum(shadowed, 1e-9) / np.maximum(clear, 1e-9))
        instances = [
            Instance(
                each.device,
                each.footprint,
                {
                    "origin": each.device.origin,
                    "size": each.size,
                    "thickness": each.footprint.thickest[2],
                    "contrast": each.contrast,
                    "contrast_object": each.contrast,
                    "contrast_blurred": float(-np.expm1(taken.min()) / (1 + np.exp(taken.min()))),
                    "cnr": None,
                    "d_prime": d_prime(log, taken, each.footprint.centroid),
                    "occluded": 0.0,
                    "visible": 1.0,
                },
            )
            for each in found
        ]
        levels = (log + taken) / (DECADES * np.log(10.0)) * (2**BITS - 1)
        yield np.rint(levels).clip(0, 2**BITS - 1).astype(np.uint16), instances, view


def d_prime(log: Image, taken: Image, centre: tuple[float, float]) -> float:
    """Return the SNR of the prewhitened matched filter of a device in a radiograph.

    d'^2 = sum over frequencies of |S|^2 / N: S is what the device takes off, N the power spectrum
    of pieces of the radiograph around it, averaged over rings: its noise, and what anatomy is there
    at random.

    Parameters
    ----------
    log, taken : (h, w) arrays
        Logarithm of the intensity without the device, and what the device adds to it.
    centre : (float, float)
        Of the device, (u, v) px.
    """
    window = np.outer(np.hanning(NOISE_TILE), np.hanning(NOISE_TILE))
    power = np.zeros((NOISE_TILE, NOISE_TILE))
    shifts = (np.arange(TILES) - TILES // 2) * NOISE_TILE / 2
    middles = [np.array(centre) - NOISE_TILE / 2 + np.array([x, y]) for x in shifts for y in shifts]
    corners = [np.clip(m, 0, SIDE - NOISE_TILE).astype(int) for m in middles]
    for u, v in corners:
        tile = log[v : v + NOISE_TILE, u : u + NOISE_TILE]
        power += np.abs(np.fft.fft2((tile - tile.mean()) * window)) ** 2
    power /= len(corners) * (window**2).sum()
    f = np.fft.fftfreq(NOISE_TILE) * NOISE_TILE
    ring = np.rint(np.hypot(f[:, None], f)).astype(int)
    profile = np.bincount(ring.ravel(), power.ravel()) / np.bincount(ring.ravel())
    u, v = np.clip(np.rint(centre).astype(int) - NOISE_TILE // 2, 0, SIDE - NOISE_TILE)
    signal = np.abs(np.fft.fft2(taken[v : v + NOISE_TILE, u : u + NOISE_TILE])) ** 2
    return float(np.sqrt((signal / signal.size / profile[ring]).sum()))


def _log(image: NDArray[np.float32]) -> Image:
    """Return the logarithm of the intensity, 0 and more, of a radiograph as -log T up to scale."""
    low, high = (float(np.percentile(image, p)) for p in (0.1, 99.9))
    share = np.clip((high - image) / (high - low), 0.0, 1.0)
    return (share * DECADES * np.log(10.0)).astype(np.float32)


def _crop(rng: np.random.Generator, log: Image) -> Image:
    scale = PITCH / PIXEL
    if scale != 1.0:
        log = np.asarray(cv2.resize(log, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA))
    height, width = log.shape
    edge = round(RIM * min(height, width))
    v, u = (int(rng.integers(edge, n - edge - SIDE + 1)) for n in (height, width))
    return np.ascontiguousarray(log[v : v + SIDE, u : u + SIDE])
