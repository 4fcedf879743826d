"""Fusing devices into a view: one exposure, and what is measured of each device in it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mmdtwin.frame import Frame, Projection
from mmdtwin.synth.compositor.contrast import Reach, object_contrast
from mmdtwin.synth.compositor.devices import Device
from mmdtwin.synth.compositor.labels import Footprint, Instance, footprint
from mmdtwin.synth.compositor.view import View
from mmdtwin.synth.xray.detectability import matched_filter
from mmdtwin.synth.xray.detector import SeparableFilter
from mmdtwin.synth.xray.optics import Arriving

DISPLACES = "blood"
MARGIN = 64  # px from the rim within which a device may reach out of the image


@dataclass(frozen=True, eq=False)
class Composite:
    """An image and what is in it.

    Parameters
    ----------
    frame : Frame
        The exposure; grey levels of as many bits as `about` says.
    instances : list of Instance
        Its devices; later ones are not nearer.
    view : View
        What it shares with others.
    about : dict
        What was drawn for it, for the record.
    """

    frame: Frame
    instances: list[Instance]
    view: View
    about: dict[str, Any]

    @property
    def image(self) -> NDArray[np.uint16]:
        """Grey levels (h, w)."""
        return self.frame.image


@dataclass(frozen=True, eq=False)
class Asked:
    """A device where it is to be, its shadow, and the contrast asked for there, if any was."""

    device: Device
    footprint: Footprint
    contrast: float | None
    size: float


def compose(view: View, asked: list[Asked], time: float) -> Composite:
    """Fuse devices into a view, expose one frame, and measure what is in it.

    Parameters
    ----------
    view : View
    asked : list of Asked
        Devices of one material each.
    time : float
        Of the exposure, s.
    """
    bodies = tuple(body for each in asked for body in each.device.bodies)
    imager = view.imager
    frame = imager.expose([view.scene(time, bodies)])
    charge = np.float32(imager.exposure.charge)
    clear = imager.arriving([view.scene(time)])
    instances = [
        Instance(each.device, each.footprint, _facts(view, each, time, charge, clear))
        for each in asked
    ]
    bits = imager.config.detector.bits
    about = {**view.about, "charge": float(charge), "bits": bits, "dose": frame.dose}
    return Composite(frame, instances, view, about)


def _facts(
    view: View, asked: Asked, time: float, charge: np.float32, clear: Arriving
) -> dict[str, Any]:
    """Return what is measured of a device without the noise of this frame, alone in the view.

    `clear` is what arrives without any device.
    """
    imager, seen = view.imager, asked.footprint
    height, width = imager.projection.shape
    reach = 2 * imager.blur.half
    r0, r1, c0, c1 = seen.roi
    window = (
        slice(max(r0 - reach, 0), min(r1 + reach, height)),
        slice(max(c0 - reach, 0), min(c1 + reach, width)),
    )
    with_device = imager.arriving([view.scene(time, asked.device.bodies)])
    before, after = (a.mean[window] * charge for a in (clear, with_device))
    variance = with_device.variance[window] * charge
    inside = np.zeros(before.shape, bool)
    top, left = r0 - window[0].start, c0 - window[1].start
    inside[top : top + r1 - r0, left : left + c1 - c0] = seen.mask
    blurred_before, blurred_after = imager.blur(before), imager.blur(after)
    difference = blurred_before - blurred_after
    contrast = difference / np.maximum(blurred_before + blurred_after, 1e-9)
    noise = _noise(imager.blur, float(variance[inside].mean()))
    noise = float(np.hypot(noise, imager.config.detector.electronic_noise))
    strongest = np.unravel_index(int(np.abs(contrast).argmax()), contrast.shape)
    row, column, thickness = seen.thickest
    whole = _whole_pixels(asked.device, imager.projection)
    return {
        "origin": asked.device.origin,
        "size": asked.size,
        "thickness": thickness,
        "contrast": asked.contrast,
        "contrast_object": _object_contrast(view, asked),
        "contrast_blurred": float(contrast[strongest]),
        "cnr": float(difference[inside].mean() / max(noise, 1e-9)),
        "d_prime": matched_filter(imager, before - after, variance),
        "occluded": hidden_share(view, seen),
        "visible": min(1.0, float(seen.share.sum()) / whole) if whole else 1.0,
        "thickest": [column, row],
    }


def _noise(blur: SeparableFilter, variance: float) -> float:
    """Return the standard deviation that white quantum noise has after the blur."""
    return float(np.sqrt(variance * (blur.kernel**2).sum()))


def _whole_pixels(device: Device, projection: Projection) -> float:
    """Return the pixels that the whole device would cover, were the image larger.

    0 where it is well inside.
    """
    height, width = projection.shape
    uv = projection.project(device.line)
    if ((uv > MARGIN) & (uv < (width - MARGIN, height - MARGIN))).all():
        return 0.0
    cu, cv = projection.principal
    larger = Projection.from_axes(
        projection.source, projection.axes, projection.sid, projection.sod, projection.pitch,
        (height + 2 * width, width + 2 * width), (cu + width, cv + width),
    )  # fmt: skip
    seen = footprint(device, larger)
    return 0.0 if seen is None else float(seen.share.sum())


def hidden_share(view: View, seen: Footprint) -> float:
    """Return the share of a shadow where the view hides devices."""
    mask = seen.mask
    return float((view.hiding[seen.window] & mask).sum() / mask.sum())


def reach_of(view: View, asked: Asked) -> Reach:
    """Return the contrasts that the device's family has where the device is thickest."""
    row, column, thickness = asked.footprint.thickest
    imager = view.imager
    lit = imager.lit(view.scene(0.0), row, column)
    return Reach(imager.beam, lit, thickness, asked.device.family, DISPLACES)


def _object_contrast(view: View, asked: Asked) -> float:
    """Return the contrast that the device's material has at its thickest point."""
    reach = reach_of(view, asked)
    body = asked.device.bodies[0]
    mu = reach.beam.mu(body.material, body.displaces)
    return object_contrast(reach.lit, mu, reach.thickness)
