"""Phantoms from the arteries of the shipped CT, as a laboratory would print them: scaled, opened.

Steps: signed distance of the labelled arteries, interpolated to cubic voxels and smoothed;
centrelines by cheapest paths (`arteries`); placing at scale; every centreline opened to a smallest
radius, which also joins labels that the segmentation left apart; cut at the workspace.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from scipy import ndimage
from scipy.spatial.transform import Rotation

from mmdtwin.config.phantom import CT_ENDS, CtConfig
from mmdtwin.geometry import Array
from mmdtwin.sim.anatomy import Labels, load_artery_labels
from mmdtwin.sim.phantoms.arteries import artery_tree
from mmdtwin.sim.phantoms.curve import Tree, evenly
from mmdtwin.sim.phantoms.grid import Grid, blended
from mmdtwin.sim.phantoms.septum import parted
from mmdtwin.sim.phantoms.surface import BAND, one_piece

STEP = 0.1e-3  # m between points of a placed centreline
MARGIN = 3  # voxels of grid kept round the lumen
LOWEST = -0.2  # m in the CT's frame: below the aortic root, which lies at -0.18
POUCH = 1.7  # local radii from every centreline beyond which lumen is a labelling error
DISC = 2.5  # radius of the disc that closes the root, over the aorta's inscribed radius there
DISC_VOXELS = 2.0  # half its thickness


def trace(config: CtConfig) -> tuple[Tree, Grid]:
    """Return the centrelines and a field that is positive inside the lumen, placed and cut."""
    labels = _upper(load_artery_labels())
    arteries = signed_distance(labels, config.voxel, config.smoothing)
    tree, ascending = artery_tree(labels, arteries)
    rotation = Rotation.from_rotvec(config.rotation).as_matrix()
    curves = {name: _place(line, config, rotation) for name, line in tree.curves.items()}
    field = _placed_field(arteries, config, rotation)
    field = _along(field, list(curves.values()), config.minimum_radius)
    field = parted(field, Tree(curves, tree.nodes, tree.ends))
    field = replace(field, values=_cut(field, config.crop_radius))
    field = one_piece(_closed(field, _place(ascending, config, rotation), config.root_length))
    return Tree(curves, tree.nodes, CT_ENDS), field


def _upper(labels: Labels) -> Labels:
    """The labels above `LOWEST`; what lies below cannot reach the workspace."""
    first = int((LOWEST - labels.origin[1]) / labels.spacing[1])
    origin = labels.origin + labels.spacing * np.array([0, first, 0])
    return replace(labels, labels=labels.labels[:, first:], origin=origin)


def _place(line: Array, config: CtConfig, rotation: Array) -> Array:
    """Take a curve from the CT's frame to the vessel's."""
    return evenly(config.scale * line @ rotation.T - np.array(config.centre), STEP)


def signed_distance(labels: Labels, voxel: float, smoothing: float) -> Grid:
    """Return the arteries' signed distance, m, positive inside, on cubic voxels.

    Shape-based interpolation (Raya and Udupa 1990): the signed distance is linear between voxel
    centres, where the labels themselves are steps. `smoothing` is the sigma of a Gaussian, m.
    """
    pad = 4  # voxels, so that the arteries close before the edge of the grid
    mask = np.pad(labels.labels > 0, pad)
    inside = ndimage.distance_transform_edt(mask, sampling=labels.spacing)
    outside = ndimage.distance_transform_edt(~mask, sampling=labels.spacing)
    signed = (inside - outside).astype(np.float32)
    for axis, spacing in enumerate(labels.spacing):
        signed = _resampled(signed, axis, voxel / spacing)
    signed = ndimage.gaussian_filter(signed, smoothing / voxel)
    return Grid(signed, labels.origin - pad * labels.spacing, voxel)


def _resampled(values: np.ndarray, axis: int, step: float) -> np.ndarray:
    """Interpolate linearly along one axis, every `step` old voxels."""
    n = values.shape[axis]
    at = np.arange(0.0, n - 1 + 1e-9, step)
    index = np.minimum(at.astype(int), n - 2)
    share = (at - index).astype(np.float32).reshape([-1 if a == axis else 1 for a in range(3)])
    low, high = values.take(index, axis), values.take(index + 1, axis)
    return low + share * (high - low)


def _placed_field(arteries: Grid, config: CtConfig, rotation: Array) -> Grid:
    """Sample the scaled arteries in the vessel's frame, where they lie in the workspace."""
    voxel = config.voxel * config.scale
    reach = config.crop_radius + MARGIN * voxel
    field = Grid.around([-reach] * 3, [reach] * 3, voxel, -BAND)
    axes = [o + voxel * np.arange(n) for o, n in zip(field.origin, field.values.shape, strict=True)]
    y, z = np.meshgrid(axes[1], axes[2], indexing="ij")
    for i, x in enumerate(axes[0]):  # slab by slab, to keep memory small
        points = np.stack([np.full(y.size, x), y.ravel(), z.ravel()], axis=1)
        original = (points + np.array(config.centre)) @ rotation / config.scale
        field.values[i] = config.scale * arteries.at(original).reshape(y.shape)
    return field


def _along(field: Grid, lines: list[Array], minimum_radius: float) -> Grid:
    """Open a lumen to a smallest radius along its centrelines, and fill pouches beside them."""
    opened = Grid(np.full_like(field.values, -BAND), field.origin, field.voxel)
    allowed = Grid(np.full_like(field.values, -BAND), field.origin, field.voxel)
    for line in lines:
        opened.paint(line, np.full(len(line), minimum_radius))
        allowed.paint(line, POUCH * np.maximum(field.at(line), minimum_radius))
    values = np.minimum(blended(field.values, opened.values, field.voxel), allowed.values)
    return replace(field, values=values)


def _cut(field: Grid, radius: float) -> np.ndarray:
    """Keep what lies within `radius` m of the origin."""
    squares = [
        (o + field.voxel * np.arange(n)) ** 2
        for o, n in zip(field.origin, field.values.shape, strict=True)
    ]
    x, y, z = np.ix_(*squares)
    return np.minimum(field.values, (radius - np.sqrt(x + y + z)).astype(np.float32))


def _closed(field: Grid, line: Array, length: float) -> Grid:
    """Close a vessel with a disc across its centreline, `length` m along it."""
    at = min(int(length / STEP), len(line) - 2)
    normal = line[at + 1] - line[at]
    normal = normal / np.linalg.norm(normal)
    nodes = np.argwhere(field.values > -BAND)
    offset = field.origin + field.voxel * nodes - line[at]
    reach = DISC * float(field.at(line[at])[0])
    disc = np.linalg.norm(offset, axis=1) < reach
    nodes, gap = nodes[disc], np.abs(offset[disc] @ normal) - DISC_VOXELS * field.voxel
    values = field.values.copy()
    index = tuple(nodes.T)
    values[index] = np.minimum(values[index], gap)
    return replace(field, values=values)
