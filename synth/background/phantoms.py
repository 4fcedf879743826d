"""Volumes of matter made from formulas: a limb, and a tank with a channel in a block of plastic."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numba import njit
from numpy.typing import NDArray

from mmdtwin.synth.background.matter import ARTERY, BONE, NONE, UNIT, Matter
from mmdtwin.synth.background.strokes import wander
from mmdtwin.synth.xray.texture import LONGEST, MARROW, MARROW_LONGEST, SLOPE, SOFT, power_law_field

VOXEL, SLAB = 0.9e-3, 1.4e-3  # m, across and along z
LENGTH = 0.30  # m along y
TILE = 128  # voxels along each side of the fields of texture, which repeat
# Densities over that of soft tissue.
FAT, MUSCLE, MARROW_FAT, WATER, PLASTIC = 0.88, 1.0, 0.92, 0.945, 1.10
CORTEX, TRABECULAE = 0.85, 0.22  # share of cortical bone, assumed


def limb(rng: np.random.Generator) -> Matter:
    """Make a limb along y: one or two long bones with an end in sight, muscle, fat, an artery."""
    two = rng.random() < 0.5
    radius = rng.uniform(0.028, 0.05) if two else rng.uniform(0.045, 0.085)
    fat = rng.uniform(0.05, 0.25) * radius
    apart = rng.uniform(0.35, 0.5) * radius if two else 0.0
    turned = rng.uniform(0, np.pi)  # of the two bones about the limb
    thick = rng.uniform(0.2, 0.3) * radius if two else rng.uniform(0.17, 0.27) * radius
    joint = rng.uniform(-0.12, 0.12)  # m along y
    bones = np.array(
        [
            [
                side * apart * np.cos(turned) + rng.normal(0, 1e-3),
                side * apart * np.sin(turned) + rng.normal(0, 1e-3),
                thick * rng.uniform(0.75, 1.1),
                rng.uniform(0.3, 0.5),
                rng.uniform(-0.015, 0.015),
            ]
            for side in ((-1, 1) if two else (0,))
        ]
    )  # x, z, radius m; cortex over radius; bow m
    angle = rng.uniform(0, 2 * np.pi)
    artery = np.array(
        [0.6 * radius * np.cos(angle), 0.6 * radius * np.sin(angle), rng.uniform(1.2e-3, 3.5e-3)]
    )
    shape = _shape(2.3 * radius, LENGTH, 2.3 * radius)
    fractions, kinds = np.zeros((*shape, 2), np.int16), np.zeros(shape, np.uint8)
    tissue, marrow = _fields(0)
    taper = rng.uniform(-1.2, 1.2)
    _fill_limb(
        fractions, kinds, tissue, marrow, rng.integers(TILE, size=3), bones, artery,
        np.array([radius, fat, taper, joint, rng.uniform(1.4, 2.0), rng.uniform(2e-3, 5e-3)]),
    )  # fmt: skip
    return _matter(fractions, kinds)


def tank(rng: np.random.Generator) -> Matter:
    """Make a tank along y: water between plastic walls, and a plastic block with a channel."""
    width, depth = rng.uniform(0.08, 0.24), rng.uniform(0.02, 0.12)
    length = rng.uniform(0.12, LENGTH)
    wall = rng.uniform(2e-3, 7e-3)
    fill = WATER if rng.random() < 0.75 else 0.0  # or empty
    shape = _shape(width, LENGTH, max(depth, 0.03))
    x, y, z = (
        (np.arange(n) - (n - 1) / 2) * step
        for n, step in zip(shape, (VOXEL, VOXEL, SLAB), strict=True)
    )
    outside = np.maximum(np.abs(x) - width / 2, 0)[:, None] + np.maximum(np.abs(y) - length / 2, 0)
    within = (np.abs(x) < width / 2 - wall)[:, None] & (np.abs(y) < length / 2 - wall)
    plane = np.where(outside > 0, 0.0, np.where(within, fill, PLASTIC)).astype(np.float32)
    soft = np.repeat(plane[..., None], shape[2], axis=2)
    walls = np.abs(z) > depth / 2 - wall
    soft[..., walls] = np.where(outside > 0, 0.0, PLASTIC)[..., None]
    soft[..., np.abs(z) > depth / 2] = 0.0
    kinds = np.zeros(shape, np.uint8)
    if rng.random() < 0.85:
        _add_block(rng, soft, kinds, x, y, z, min(width, length), depth)
    fractions = np.zeros((*shape, 2), np.int16)
    fractions[..., 0] = np.rint(soft / UNIT)
    return _matter(fractions, kinds)


def _add_block(
    rng: np.random.Generator,
    soft: NDArray[np.float32],
    kinds: NDArray[np.uint8],
    x: NDArray,
    y: NDArray,
    z: NDArray,
    room: float,
    depth: float,
) -> None:
    """Put a block of plastic in, with a branching channel in its middle plane."""
    half = rng.uniform(0.3, 0.5, 2) * room
    bore = float(np.exp(rng.uniform(np.log(1.5e-3), np.log(8e-3))))
    thick = min(max(rng.uniform(10e-3, 30e-3), 1.5 * bore), depth)
    height = rng.uniform(-0.5, 0.5) * max(depth - thick, 0.0)
    block = (np.abs(x) < half[0])[:, None] & (np.abs(y) < half[1])
    inside = np.abs(z - height) < thick / 2
    soft[..., inside] = np.where(block[..., None], PLASTIC, soft[..., inside])
    queue = [(_channel(rng, half), bore / 2, 0)]
    while queue:
        points, radius, level = queue.pop()
        _bore(kinds, soft, points, radius, height, x, y, z)
        for _ in range(rng.integers(0, 3 - level) if level < 2 else 0):
            k = int(rng.uniform(0.2, 0.8) * len(points))
            heading = np.arctan2(*(points[k] - points[k - 1])[::-1])
            heading += rng.choice([-1, 1]) * rng.uniform(0.3, 1.0)
            reach = rng.uniform(0.3, 0.8) * half.max() / VOXEL
            branch = points[k] + (wander(rng, np.zeros(2), heading, reach, 0.4)) * VOXEL
            queue.append((branch, max(radius * rng.uniform(0.6, 0.9), 0.7e-3), level + 1))


def _channel(rng: np.random.Generator, half: NDArray) -> NDArray:
    """A curve from one face of the block to the other, (n, 2) m."""
    start = np.array([rng.uniform(-0.5, 0.5) * half[0], -half[1]])
    return start + VOXEL * wander(
        rng, np.zeros(2), np.pi / 2 + rng.normal(0, 0.2), 2.1 * half[1] / VOXEL, 0.4
    )


def _bore(
    kinds: NDArray, soft: NDArray, points: NDArray, radius: float, height: float,
    x: NDArray, y: NDArray, z: NDArray,
) -> None:  # fmt: skip
    from scipy.spatial import cKDTree

    grid = np.stack(np.meshgrid(x, y, indexing="ij"), axis=-1)
    distance, _ = cKDTree(points).query(grid, distance_upper_bound=radius)
    near = np.argwhere(distance < radius)
    for i, j in near:
        hit = np.hypot(distance[i, j], z - height) < radius
        kinds[i, j, hit] = ARTERY
        soft[i, j, hit] = WATER


def _shape(*sizes: float) -> tuple[int, int, int]:
    nx, ny, nz = (int(s / step) + 3 for s, step in zip(sizes, (VOXEL, VOXEL, SLAB), strict=True))
    return nx, ny, nz


def _matter(fractions: NDArray[np.int16], kinds: NDArray[np.uint8]) -> Matter:
    spacing = np.array([VOXEL, VOXEL, SLAB])
    return Matter(fractions, kinds, spacing, -(np.array(kinds.shape) - 1) / 2 * spacing)


@lru_cache(maxsize=1)
def _fields(seed: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Density of tissue and of marrow as they vary, of mean 0."""
    first, second = np.random.default_rng(seed).spawn(2)
    return (
        SOFT * power_law_field(TILE, VOXEL, SLOPE, LONGEST, first),
        MARROW * power_law_field(TILE, VOXEL, SLOPE, MARROW_LONGEST, second),
    )


@njit(cache=True, nogil=True)
def _fill_limb(
    fractions: NDArray, kinds: NDArray, tissue: NDArray, marrow: NDArray, at: NDArray,
    bones: NDArray, artery: NDArray, sizes: NDArray,
) -> None:  # fmt: skip
    nx, ny, nz = kinds.shape
    limb_radius, fat, taper, joint, flare, gap = sizes
    for j in range(ny):
        y = (j - (ny - 1) / 2) * VOXEL
        radius = limb_radius * (1.0 + taper * y)
        from_joint = abs(y - joint) - gap / 2
        # Shafts widen towards the joint, where their cortex thins.
        near = np.exp(-max(from_joint, 0.0) / 0.018)
        for i in range(nx):
            x = (i - (nx - 1) / 2) * VOXEL
            for k in range(nz):
                z = (k - (nz - 1) / 2) * SLAB
                r = np.hypot(x, z)
                if r > radius:
                    continue
                a, b, c = (i + at[0]) % TILE, (j + at[1]) % TILE, (k + at[2]) % TILE
                soft = (FAT if r > radius - fat else MUSCLE) * (1.0 + tissue[a, b, c])
                bone, kind = 0.0, NONE
                for n in range(len(bones)):
                    bow = bones[n, 4] * (1.0 - (y / 0.15) ** 2)
                    width = bones[n, 2] * (1.0 + (flare - 1.0) * near)
                    s = np.hypot(x - bones[n, 0] - bow, z - bones[n, 1])
                    if s > width or from_joint < 0.0:
                        continue
                    kind = BONE
                    cortex = width * bones[n, 3] * (1.0 - 0.85 * near)
                    if s > width - cortex or from_joint < 1.5e-3:
                        bone = CORTEX
                    elif near > 0.05:
                        bone = TRABECULAE * min(1.0, 4 * near) * (1.0 + 2 * marrow[a, b, c])
                    soft = (1.0 - bone) * (MUSCLE if bone == CORTEX else MARROW_FAT)
                if kind == NONE and np.hypot(x - artery[0], z - artery[1]) < artery[2]:
                    kind = ARTERY
                fractions[i, j, k, 0] = np.int16(max(soft, 0.0) / UNIT + 0.5)
                fractions[i, j, k, 1] = np.int16(max(bone, 0.0) / UNIT + 0.5)
                kinds[i, j, k] = kind
