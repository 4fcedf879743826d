"""A background from a radiograph: how much soft tissue would make it as dark as it is."""

from __future__ import annotations

import math

import cv2
import numpy as np

from mmdtwin.config.imager import ImagerConfig
from mmdtwin.errors import UserError
from mmdtwin.frame import Projection
from mmdtwin.geometry import Image
from mmdtwin.synth.xray.background import Background, Pose, resampled
from mmdtwin.synth.xray.beam import Beam
from mmdtwin.synth.xray.dicom import XaSeries, read_xa
from mmdtwin.synth.xray.dicom_geometry import gantry_angles

TISSUE = "soft-tissue"
THICKEST = 0.6  # m of tissue; what is darker, as behind a collimator, counts as this
STEPS = 601  # of the table of transmission
BLOCK = 8  # px; where the file is brightest is looked for in means over blocks, without its noise
BRIGHTEST = 99.9  # percentile of those means
SAME_ANGLE = math.radians(0.5)
DARKEST = 0.5  # grey levels; what is below cannot be told from nothing


def file_background(config: ImagerConfig) -> Background:
    """Read a DICOM image (XA, RF, CR, DX; of a run the first frame) as a map of soft tissue.

    The intensity I of each pixel, over that of the unattenuated beam, is inverted through what
    this imager's own beam and detector would show behind tissue, the whole spectrum taken: where
    the beam hardens, thickness is not proportional to -log I. The unattenuated beam is found from
    the brightest part of the file (the 99.9th percentile, in means over 8 x 8 px), which is behind
    `background.thinnest` of tissue. The map is then resampled at the isocentre, by the geometry of
    the file's tags, to the imager's pixels.

    Bone and instruments become tissue that is as dark. The file's own noise, blur and scatter stay
    in the map, and the imager adds its own: take a file of a higher dose than is to be simulated.

    Parameters
    ----------
    config : ImagerConfig
        `background` names the file, the defaults for tags that it lacks, and `thinnest`. The
        gantry's angles are the file's; those configured hold where it has none (radiographs).

    Raises
    ------
    UserError
        If the file cannot be read or made linear, is of another view than the one configured, or
        is smaller than what the imager sees.
    """
    background = config.background
    assert background.path is not None  # BackgroundConfig asks for it
    series = read_xa(background.path, {**_configured(config), **background.defaults})
    view, target = series.frames[0].projection, Projection.from_config(config, 0.0, 0.0)
    primary, secondary = gantry_angles(view)
    for name, angle, asked in (
        ("primary", primary, config.primary),
        ("secondary", secondary, config.secondary),
    ):
        if asked and abs(math.remainder(asked - angle, 2 * math.pi)) > SAME_ANGLE:
            raise UserError(
                f"imager.{name}: {math.degrees(asked):.1f} deg, but {background.path} was taken at "
                f"{math.degrees(angle):.1f} deg; leave it at 0 to take the file's"
            )
    _check_size(view, target, background.path)
    thickness = tissue(config, _intensity(series), background.thinnest)
    pose = Pose(primary, secondary, name=series.path.name)
    return Background({TISSUE: _to_imager(thickness, view, target)}, pose)


def tissue(config: ImagerConfig, intensity: Image, thinnest: float) -> Image:
    """Return the soft tissue, m, (h, w), behind which an imager sees an intensity (h, w)."""
    beam = Beam.of(config)
    weight = beam.weights[0] / beam.weights[0].sum()
    depth = np.linspace(0.0, THICKEST, STEPS)
    seen = np.exp(-np.outer(depth, beam.mu(TISSUE))) @ weight
    logs = np.log(seen)
    brightest = float(np.percentile(_block_means(intensity), BRIGHTEST))
    raw_log = math.log(brightest) - float(np.interp(thinnest, depth, logs))
    # `logs` falls with depth, and interpolation wants what rises.
    return np.interp(raw_log - np.log(intensity), -logs, depth).astype(np.float32)


def _intensity(series: XaSeries) -> Image:
    values = series.intensity(series.frames[0].image)
    if not values.max() > 0.0:
        raise UserError(f"{series.path}: the image is black everywhere")
    table = series.grey.table
    assert table is not None  # else `intensity` has said so
    positive = table[table > 0.0]
    return np.maximum(values, DARKEST * positive.min())


def _configured(config: ImagerConfig) -> dict[str, float]:
    """What the imager's configuration says where a radiograph says nothing."""
    return {
        "PositionerPrimaryAngle": math.degrees(config.primary) + 180.0,
        "PositionerSecondaryAngle": math.degrees(config.secondary),
        "FrameTime": 1e3 / config.frame_rate,  # of no effect: one frame is used
    }


def _check_size(view: Projection, target: Projection, path: str) -> None:
    for have, need, side in zip(view.shape, target.shape, ("high", "wide"), strict=True):
        if need * target.pixel_size > have * view.pixel_size * 1.001:
            raise UserError(
                f"{path}: {have * view.pixel_size * 1e3:.0f} mm {side} at the isocentre, and the "
                f"imager sees {need * target.pixel_size * 1e3:.0f} mm; choose a smaller detector "
                "or a larger file"
            )


def _to_imager(image: Image, view: Projection, target: Projection) -> Image:
    """Bring a map from a file's pixels to an imager's, by their sizes at the isocentre."""
    scale = target.pixel_size / view.pixel_size  # pixels of the file per pixel of the imager
    if scale > 1.0:  # else the file's noise would be folded into lower frequencies
        sigma = 0.5 * math.sqrt(scale**2 - 1.0)
        image = np.asarray(cv2.GaussianBlur(image, (0, 0), sigma), np.float32)
    return resampled(image, scale, target.shape, cv2.INTER_LINEAR)


def _block_means(image: Image) -> Image:
    height, width = (max(1, n // BLOCK) for n in image.shape)
    return np.asarray(cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA), np.float32)
