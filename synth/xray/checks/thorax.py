"""Radiographs of the CT: their texture, their line integrals, their cost."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mmdtwin.config.base import load
from mmdtwin.config.imager import ImagerConfig
from mmdtwin.errors import UserError
from mmdtwin.frame import Projection
from mmdtwin.geometry import Array
from mmdtwin.sim.anatomy import Anatomy
from mmdtwin.sim.scene import Scene
from mmdtwin.synth.xray.background import CT_BOX, Background, Pose
from mmdtwin.synth.xray.checks.check import Check
from mmdtwin.synth.xray.drr import material_maps, relative_attenuation
from mmdtwin.synth.xray.imager import Imager
from mmdtwin.synth.xray.texture import textured
from mmdtwin.synth.xray.volume import load_native, make_volume

POSES = 50
PRIMARY, SECONDARY = np.deg2rad(30.0), np.deg2rad(15.0)  # rad, largest gantry angles of poses
PIXEL = 0.2e-3  # m at the isocentre, at which frames are judged
SLOPE_BAND = (0.023, 0.156)  # cycles per pixel
RATIO_BAND = (0.04, 0.15)
BINS = 16  # rings of the spectrum, evenly spaced in log frequency
SECTOR = np.deg2rad(22.5)  # rad round an axis that counts as along it
SLOPES, RATIOS, SHARE = (-4.2, -3.0), (1 / 3, 3.0), 0.9  # asked
BLOCKS = 6
BLOCK_ERROR = 5e-3  # of path lengths through blocks of whole voxels, asked
MEAN_ERROR = 1.0  # HU; voxels are stored as whole HU
MEMORY = 2.0  # GB, asked of a radiograph with its volume


def checks(seed: int) -> Iterator[Check]:
    """Yield the checks of line integrals, of means, of cost, then of the texture."""
    yield blocks(seed)
    yield cost()
    plain = make_volume(load_native("sample"), None)
    fine = textured(plain, seed)
    yield means(plain, fine)
    yield texture(fine, seed)


@dataclass(frozen=True)
class Texture:
    """Power spectrum of an image: radial mean at frequencies, its slope, horizontal / vertical."""

    frequency: Array  # cycles per pixel
    power: Array  # of the image over its mean, px^2
    slope: float
    ratio: float


def measure_texture(image: NDArray) -> Texture:
    """Measure the power spectrum of a linear grey image.

    The image is divided by its mean, a plane is fitted and taken away, and a Hann window applied.
    The slope is that of a straight line through log power over log frequency, at the means over
    rings evenly spaced in log frequency. The ratio is the power in `RATIO_BAND` within 22.5 deg of
    the horizontal axis of frequencies, over that near the vertical one.
    """
    height, width = image.shape
    v, u = np.mgrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j]
    planes = np.stack([np.ones(image.size), u.ravel(), v.ravel()], axis=1)
    relative = np.asarray(image, float).ravel() / image.mean()
    relative -= planes @ np.linalg.lstsq(planes, relative, rcond=None)[0]
    window = np.outer(np.hanning(height), np.hanning(width))
    spectrum = np.fft.fft2(relative.reshape(image.shape) * window)
    power = np.abs(spectrum) ** 2 / (window**2).sum()
    fv, fu = np.abs(np.fft.fftfreq(height))[:, None], np.abs(np.fft.fftfreq(width))
    frequency, angle = np.hypot(fu, fv), np.arctan2(fv, fu)
    ring = np.digitize(frequency, np.geomspace(*SLOPE_BAND, BINS + 1))
    rings = [ring == i for i in range(1, BINS + 1)]
    f = np.array([frequency[r].mean() for r in rings])
    p = np.array([power[r].mean() for r in rings])
    band = (frequency >= RATIO_BAND[0]) & (frequency <= RATIO_BAND[1])
    horizontal = power[band & (angle < SECTOR)].mean()
    vertical = power[band & (angle > np.pi / 2 - SECTOR)].mean()
    return Texture(f, p, float(np.polyfit(np.log(f), np.log(p), 1)[0]), horizontal / vertical)


def draw_backgrounds(
    config: ImagerConfig, volume: Anatomy, count: int, rng: np.random.Generator
) -> Iterator[Background]:
    """Yield backgrounds at random poses in the thorax, up to 30 and 15 deg, that the CT covers."""
    low, high = CT_BOX
    while count:
        primary, secondary = rng.uniform(-PRIMARY, PRIMARY), rng.uniform(-SECONDARY, SECONDARY)
        x, y, z = rng.uniform(low, high).tolist()
        projection = Projection.from_config(config, primary, secondary)
        try:
            maps = material_maps(volume, projection, np.array([x, y, z]))
        except UserError:
            continue
        count -= 1
        yield Background(maps, Pose(primary, secondary, (x, y, z), "random"))


def texture(volume: Anatomy, seed: int) -> Check:
    """Compare the texture of frames of a volume, at random poses, with that of real ones."""
    config = load(ImagerConfig, "imagers", "carm-fluoro")
    pitch = PIXEL * config.sid / config.sod
    config = config.model_copy(
        update={"detector": config.detector.model_copy(update={"pitch": pitch})}
    )
    poses, noise = np.random.default_rng(seed).spawn(2)
    free, final, bare = [], [], None
    for background in draw_backgrounds(config, volume, POSES, poses):
        imager = Imager(config, poses, noise, background=background)
        free.append(measure_texture(imager.expected()))
        final.append(measure_texture(imager.render(_Nothing()).image))
    # Noise alone: a frame of uniform tissue, whose own spectrum is nothing else.
    uniform = {"soft-tissue": np.full(imager.projection.shape, 0.2, np.float32)}
    imager = Imager(config, poses, noise, background=Background(uniform, Pose()))
    bare = measure_texture(imager.render(_Nothing()).image / imager.expected())
    good = [_natural(t) for t in free]
    return Check(
        claim=f"the texture of the thorax at {PIXEL * 1e3} mm a pixel is that of real frames",
        parameters=f"{POSES} poses of the shipped CT, up to 30 and 15 deg, noise-free frames",
        reference="real frames averaged over 8: slope -3.3 to -3.8, horizontal/vertical .7 to 3",
        acceptance=f"slope {SLOPES[0]}..{SLOPES[1]} over {SLOPE_BAND[0]}-{SLOPE_BAND[1]} cycles/px "
        f"and ratio 1/3..3 over {RATIO_BAND[0]}-{RATIO_BAND[1]} on {SHARE:.0%} of the poses, and "
        "not so of noise alone",
        result=f"{sum(good)} of {POSES}; {_spread(free)}; final frames {_spread(final)}; "
        f"noise alone slope {bare.slope:.1f}",
        holds=bool(np.mean(good) >= SHARE and not _natural(bare)),
        limits="one patient",
        draw=lambda axes: _draw(axes, free, final, bare),
    )


def blocks(seed: int) -> Check:
    """Compare path lengths through random blocks of voxels with closed forms, at any angle."""
    rng = np.random.default_rng(seed)
    worst, outside = 0.0, 0
    for _ in range(BLOCKS):
        low, high = rng.integers(40, 60, 3), rng.integers(100, 120, 3)
        hounsfield = np.full((160, 160, 160), -1000, np.int16)
        hounsfield[tuple(slice(a, b) for a, b in zip(low, high, strict=True))] = 0
        spacing = np.array([1.0e-3, 0.9e-3, 1.1e-3])
        ct = Anatomy(np.zeros(hounsfield.shape, np.uint8), spacing, -80 * spacing, {}, hounsfield)
        primary, secondary = rng.uniform(-np.pi, np.pi), rng.uniform(-0.3, 0.3)
        projection = Projection.from_carm(1.1, 0.75, 1e-3, (64, 64), primary, secondary)
        centre = rng.uniform(-0.01, 0.01, 3)
        maps = material_maps(ct, projection, centre, below_test_slab=False)
        shift = -80 * spacing - centre
        # Linear interpolation puts a block's face half way to the next voxel, as a ramp of one.
        smaller, path, larger = (
            _chord(projection, np.array([low - 0.5 - by, high - 0.5 + by]) * spacing + shift)
            for by in (-0.5, 0.0, 0.5)
        )
        found = maps["soft-tissue"] * relative_attenuation()[0]
        slack = BLOCK_ERROR * path.max()
        outside += int(((found < smaller - slack) | (found > larger + slack)).sum())
        worst = max(worst, abs(float(found.sum() / path.sum()) - 1.0))
    return Check(
        claim="line integrals of a CT are those of its blocks",
        parameters=f"{BLOCKS} blocks of water of 40-80 voxels, any primary angle, 17 deg secondary",
        reference="chord of a box",
        acceptance=f"mean over the image {BLOCK_ERROR:.1%}; every pixel between the chords of the "
        "blocks half a voxel smaller and larger, over which their faces are blurred",
        result=f"largest error of a mean {worst:.2%}; {outside} pixels outside",
        holds=worst < BLOCK_ERROR and outside == 0,
    )


def _chord(projection: Projection, faces: Array) -> Array:
    """Path of every ray through a box with its lower and upper corner at `faces` (2, 3)."""
    height, width = projection.shape
    v, u = np.mgrid[:height, :width]
    rays = projection.rays(np.stack([u, v], axis=-1))
    t = np.sort((faces[:, None, None] - projection.source) / rays, axis=0)
    return np.clip(t[1].min(axis=-1) - t[0].max(axis=-1), 0.0, None)


def means(plain: Anatomy, fine: Anatomy) -> Check:
    """Compare the mean HU of every label of a volume with fine structure and without."""
    counts, change = np.zeros(256), np.zeros(256)
    for k in range(plain.labels.shape[2]):
        labels = plain.labels[..., k].ravel()
        difference = fine.hounsfield[..., k] - plain.hounsfield[..., k]
        counts += np.bincount(labels, minlength=256)
        change += np.bincount(labels, difference.ravel(), minlength=256)
    change /= np.maximum(counts, 1)
    label = int(np.abs(change).argmax())
    return Check(
        claim="fine structure keeps the mean density of every label",
        parameters=f"shipped CT on cubes of 0.7 mm, {np.count_nonzero(counts)} labels",
        reference="the same without fine structure",
        acceptance=f"{MEAN_ERROR} HU: voxels are whole HU",
        result=f"largest change {change[label]:+.2f} HU, "
        f"in {plain.names.get(label, 'what has no label')}",
        holds=bool(np.abs(change).max() < MEAN_ERROR),
    )


def cost() -> Check:
    """Measure time and memory of making a volume and a radiograph, in a fresh process."""
    done = subprocess.run(
        [sys.executable, "-m", __name__], capture_output=True, text=True, check=True
    )
    made, drr, peak = (float(x) for x in done.stdout.split())
    return Check(
        claim=f"a radiograph of the CT takes less than {MEMORY:g} GB",
        parameters="512 x 512, shipped CT on cubes of 0.7 mm, one process with two threads",
        reference="-",
        acceptance="its peak; times depend on what else the machine does, and are for information",
        result=f"peak {peak:.2f} GB; {drr:.2f} s; once, the volume in {made:.1f} s",
        holds=peak < MEMORY,
    )


def measure_cost() -> tuple[float, float, float]:
    """Return the seconds for a volume and for a radiograph (median), and the peak memory in GB."""
    start = time.perf_counter()
    volume = make_volume(load_native("sample"), 0)
    made = time.perf_counter() - start
    projection = Projection.from_carm(1.1, 0.75, 0.3e-3, (512, 512), 0.3, 0.1)
    times = []
    for _ in range(4):
        start = time.perf_counter()
        material_maps(volume, projection, np.array([0.0, -0.2, 0.0]))
        times.append(time.perf_counter() - start)
    # Not `ru_maxrss`: a process starts with that of the one it was forked from.
    lines = Path("/proc/self/status").read_text().splitlines()
    peak = float(next(line for line in lines if line.startswith("VmHWM")).split()[1]) / 1e6  # kB
    return made, float(np.median(times)), peak


class _Nothing:
    """A world with no device."""

    def scene(self) -> Scene:
        return Scene(0.0, ())


def _natural(found: Texture) -> bool:
    return SLOPES[0] <= found.slope <= SLOPES[1] and RATIOS[0] <= found.ratio <= RATIOS[1]


def _spread(found: list[Texture]) -> str:
    slopes, ratios = [t.slope for t in found], [t.ratio for t in found]
    return (
        f"slope {np.median(slopes):.2f} ({min(slopes):.2f}..{max(slopes):.2f}), "
        f"ratio {np.median(ratios):.2f} ({min(ratios):.2f}..{max(ratios):.2f})"
    )


def _draw(axes: Any, free: list[Texture], final: list[Texture], noise: Texture) -> None:
    for found, colour, name in ((final, "tab:orange", "final"), (free, "tab:blue", "noise-free")):
        for i, t in enumerate(found):
            label = f"{name} frames" if i == 0 else None
            axes.loglog(t.frequency, t.power, color=colour, alpha=0.25, lw=0.8, label=label)
    axes.loglog(noise.frequency, noise.power, "k:", label="noise alone")
    f = free[0].frequency
    middle = np.exp(np.mean([np.log(t.power) for t in free], axis=0))[BINS // 2]
    axes.loglog(f, middle * (f / f[BINS // 2]) ** -3.5, "k--", label="slope -3.5")
    axes.set_xlabel("frequency / cycles per pixel")
    axes.set_ylabel("relative power / px$^2$")
    axes.legend()


if __name__ == "__main__":
    print(*measure_cost())
