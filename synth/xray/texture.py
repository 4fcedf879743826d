"""Structure finer than a CT shows: the CT on cubes of 0.7 mm, with fine structure in each label.

What a fluoroscope resolves at 0.2 mm a pixel, a CT of 0.7 x 2.5 x 0.7 mm has blurred away. The
CT's own spectrum at the scales that it does resolve (some 10 mm) is continued to the voxels'
limit, by structure that belongs to each kind of tissue:

- lungs: vessels (`lung_vessels`) and parenchyma whose share of air varies;
- soft tissue: density varies as fat and fibres run through it;
- bone: a trabecular pattern in its marrow, and its cortex sharpened.

Random density is a Gaussian field with a power law for its spectrum. A projection along a ray takes
the slice of its 3-D spectrum across the ray, so that the exponent in the volume is the slope in the
image. The mean density of every label stays what the CT says.
"""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
from numba import njit
from numpy.typing import NDArray

from mmdtwin.sim.anatomy import BLOOD, SKELETON, Anatomy
from mmdtwin.synth.xray.lung_vessels import lung_vessels, rasterise

VOXEL = 0.7e-3  # m, side of the cubes: the CT's own within its slices
SLOPE = 3.3  # exponent of the fields' power spectrum, fitted to real frames' -3.3 to -3.8
LONGEST = 12e-3  # m; the CT resolves longer waves itself
FINEST = 0.6  # of the sampling frequency; what lies beyond, in corners, no image shows
TILE = 256  # voxels along each side of a field, which repeats
MARROW_LONGEST = 4e-3  # m; the pattern of trabeculae repeats within a few mm
MARROW_TILE = 128

# rms of the fields' density, fitted: the spectrum of radiographs of the full CT across its slices,
# where it resolves most, falls as k^-3.5 from .05 to .22 /mm; these continue it, in all directions,
# to .78 /mm. The CT would show 70 % of it: 45 HU in soft tissue and 75 HU in lungs, where its own
# deviations from means over 16 mm are 43 HU (29 HU in muscle) and 54 HU.
PARENCHYMA = 0.85  # of p (1 - p), p the share of tissue in the air: 110 HU at -850 HU
SOFT = 0.062  # of its density: 65 HU; fat and muscle differ by 150 HU
BLOOD_SHARE = 0.3  # of that in the heart and great vessels, whose walls and fat alone vary
MARROW = 0.5  # of what is denser than soft tissue: 100 HU at 250 HU
SHARPENING = 0.5  # of a bone voxel's difference from its neighbours, added to it
REACH = np.array([2, 3, 2])  # voxels to those neighbours along x, y, z; slices blur y most

NONE, TISSUE, VESSEL, LUNG, BONE = range(5)
DENSEST = 4000.0  # HU + 1000, which sharpened metal may not exceed
FULL = 1050.0  # HU + 1000 of soft tissue, about its density in kg/m3


def isotropic(anatomy: Anatomy, voxel: float = VOXEL) -> Anatomy:
    """Resample a CT to cubes, its HU with cubics and its labels with the nearest.

    Parameters
    ----------
    anatomy : Anatomy
        CT on any grid.
    voxel : float
        Side of a voxel, m; rounded so that a whole number of them fills the volume.
    """
    extent = anatomy.spacing * anatomy.labels.shape
    nx, ny, nz = np.maximum(np.rint(extent / voxel).astype(int), 1).tolist()
    spacing = extent / (nx, ny, nz)
    slices = np.stack(
        [
            cv2.resize(
                np.ascontiguousarray(anatomy.hounsfield[:, k]),
                (nz, nx),
                interpolation=cv2.INTER_CUBIC,
            )
            for k in range(anatomy.labels.shape[1])
        ]
    )  # (old ny, nx, nz)
    hounsfield = np.empty((nz, nx, ny), np.int16)  # planes across z lie together: see drr
    for i in range(nx):
        column = np.ascontiguousarray(slices[:, i])
        hounsfield[:, i] = cv2.resize(column, (nz, ny), interpolation=cv2.INTER_CUBIC).T
    np.maximum(hounsfield, -1000, out=hounsfield)
    nearest = [
        ((np.arange(n) + 0.5) * old / n).astype(int)
        for n, old in zip((nx, ny, nz), anatomy.labels.shape, strict=True)
    ]
    labels = anatomy.labels.transpose(2, 0, 1)[np.ix_(nearest[2], nearest[0], nearest[1])]
    return replace(
        anatomy,
        labels=labels.transpose(1, 2, 0),
        hounsfield=hounsfield.transpose(1, 2, 0),
        spacing=spacing,
        origin=anatomy.extent[0] + spacing / 2,
    )


def textured(anatomy: Anatomy, seed: int = 0) -> Anatomy:
    """Add fine structure to a CT on cubes (see `isotropic`).

    Parameters
    ----------
    anatomy : Anatomy
        Native tissue. Labels decide what is added; without a label, soft tissue.
    seed : int
        Same seed, same structure.

    Returns
    -------
    Anatomy
        Every label has the mean HU that it had.
    """
    trees, density, marrow = np.random.default_rng(seed).spawn(3)
    fill = rasterise(lung_vessels(anatomy, trees), anatomy)
    step = float(anatomy.spacing.mean())
    hounsfield = np.ascontiguousarray(anatomy.hounsfield.transpose(2, 0, 1))
    labels = np.ascontiguousarray(anatomy.labels.transpose(2, 0, 1))
    out = np.empty(hounsfield.shape, np.int16)
    _add_structure(
        hounsfield,
        labels,
        _kinds(anatomy),
        fill,
        power_law_field(TILE, step, SLOPE, LONGEST, density),
        power_law_field(MARROW_TILE, step, SLOPE, MARROW_LONGEST, marrow),
        REACH[[2, 0, 1]],
        out,
    )
    return replace(anatomy, hounsfield=out.transpose(1, 2, 0))


def power_law_field(
    size: int, voxel: float, slope: float, longest: float, rng: np.random.Generator
) -> NDArray[np.float32]:
    """Draw a periodic Gaussian field with power spectrum (1/longest^2 + k^2)^(-slope/2).

    Parameters
    ----------
    size : int
        Voxels along each of its three sides.
    voxel, longest : float
        Side of a voxel, and wavelength above which the spectrum is flat, m.
    slope : float
        Exponent.
    rng : Generator
        Draws it.

    Returns
    -------
    (size, size, size) float32 array
        Mean 0, variance 1; then sharpened by what linear interpolation between voxels takes away.
    """
    from scipy import fft

    k = np.fft.fftfreq(size).astype(np.float32)
    squared = np.add.outer(np.add.outer(k**2, k**2), k[: size // 2 + 1] ** 2)
    amplitude = ((voxel / longest) ** 2 + squared) ** np.float32(-slope / 4)
    amplitude[(squared > FINEST**2) | (squared == 0.0)] = 0.0
    loss = np.sinc(k) ** 2
    white = rng.standard_normal((size, size, size), dtype=np.float32)
    spectrum = fft.rfftn(white, workers=2)
    spectrum *= amplitude
    # Parseval: each wave but those at the edges of the half space stands for two.
    weight = np.full(size // 2 + 1, 2.0)
    weight[[0, -1]] = 1.0
    rms = np.sqrt(np.sum(np.abs(spectrum) ** 2 * weight, dtype=float)) / size**3
    spectrum /= loss[:, None, None] * rms
    spectrum /= loss[:, None]
    spectrum /= loss[: size // 2 + 1]
    return np.asarray(fft.irfftn(spectrum, s=white.shape, workers=2, overwrite_x=True))


def _kinds(anatomy: Anatomy) -> NDArray[np.uint8]:
    """Return the kind of tissue of each label, (256,)."""
    kinds = np.full(256, TISSUE, np.uint8)
    for i, name in anatomy.names.items():
        if name.startswith("lung_"):
            kinds[i] = LUNG
        elif name.startswith(SKELETON):
            kinds[i] = BONE
        elif name in BLOOD:
            kinds[i] = VESSEL
        elif name == "trachea":
            kinds[i] = NONE
    return kinds


@njit(cache=True, nogil=True)
def _add_structure(
    hounsfield: NDArray,
    labels: NDArray,
    kinds: NDArray,
    fill: NDArray,
    density: NDArray,
    marrow: NDArray,
    reach: NDArray,
    out: NDArray,
) -> None:
    """Change every voxel by the rule of its tissue, then scale each label to its former mean."""
    n0, n1, n2 = hounsfield.shape
    before, after = np.zeros(256), np.zeros(256)
    for i in range(n0):
        for j in range(n1):
            for k in range(n2):
                label = labels[i, j, k]
                kind = kinds[label]
                dense = hounsfield[i, j, k] + 1000.0
                before[label] += dense
                f = density[i % TILE, j % TILE, k % TILE]
                if kind == LUNG:
                    dense = _lung(dense, fill[i, j, k] / 255.0, f)
                elif kind == BONE:
                    near = _mean_of_neighbours(hounsfield, i, j, k, reach) + 1000.0
                    g = marrow[i % MARROW_TILE, j % MARROW_TILE, k % MARROW_TILE]
                    dense = _bone(dense, near, g)
                elif kind == TISSUE:
                    dense = _tissue(dense, SOFT * f)
                elif kind == VESSEL:
                    dense = _tissue(dense, SOFT * BLOOD_SHARE * f)
                whole = np.int16(min(max(dense, 0.0), DENSEST) + 0.5)
                after[label] += whole
                out[i, j, k] = whole
    scale = before / np.maximum(after, 1.0)
    for i in range(n0):
        for j in range(n1):
            for k in range(n2):
                out[i, j, k] = np.int16(out[i, j, k] * scale[labels[i, j, k]] + 0.5) - 1000


@njit(cache=True, nogil=True)
def _lung(dense: float, filled: float, f: float) -> float:
    """Put vessels into parenchyma and vary its share of air."""
    dense += filled * max(FULL - dense, 0.0)
    share = min(dense / FULL, 1.0)
    return dense + PARENCHYMA * FULL * share * (1.0 - share) * f


@njit(cache=True, nogil=True)
def _bone(dense: float, near: float, g: float) -> float:
    """Sharpen against the neighbours' mean and vary what is denser than soft tissue."""
    return dense + SHARPENING * (dense - near) + MARROW * max(dense - FULL, 0.0) * g


@njit(cache=True, nogil=True)
def _tissue(dense: float, relative: float) -> float:
    """Vary soft tissue; gas in the gut and air outside, below -500 HU, have no structure."""
    return dense * (1.0 + relative * min(max((dense - 500.0) / 300.0, 0.0), 1.0))


@njit(cache=True, nogil=True)
def _mean_of_neighbours(hounsfield: NDArray, i: int, j: int, k: int, reach: NDArray) -> float:
    """Mean of the six voxels at `reach` along the axes."""
    n = hounsfield.shape
    total = 0.0
    for side in (-1, 1):
        total += hounsfield[min(max(i + side * reach[0], 0), n[0] - 1), j, k]
        total += hounsfield[i, min(max(j + side * reach[1], 0), n[1] - 1), k]
        total += hounsfield[i, j, min(max(k + side * reach[2], 0), n[2] - 1)]
    return total / 6.0
