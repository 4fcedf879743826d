"""The check of `mmdtwin xray calibrate` on the twin: a calibration with beads against the truth."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from mmdtwin.config.base import load
from mmdtwin.config.bead_phantom import BeadPhantomConfig
from mmdtwin.config.imager import BackgroundConfig, ImagerConfig, IntensifierConfig
from mmdtwin.frame import Projection
from mmdtwin.hardware.imager_calibration.accuracy import accuracy
from mmdtwin.hardware.imager_calibration.calibration import Session, calibrate
from mmdtwin.synth.xray.bead_images import random_session
from mmdtwin.synth.xray.checks.check import Check

IMAGES = 10  # of a calibration
PLACE, TURN, BENT = 0.3e-3, np.deg2rad(0.2), 0.2  # m, rad, px, asked of it


def checks(seed: int) -> Iterator[Check]:
    """Yield the check of the calibration."""
    yield calibration_is_accurate(seed)


def calibration_session(seed: int, images: int = IMAGES) -> tuple[Session, list[Projection]]:
    """Calibrate a simulated C-arm with an intensifier; return what was found and the truth."""
    rng = np.random.default_rng(seed)
    base = load(ImagerConfig, "imagers", "carm-fluoro")
    bent = IntensifierConfig(
        pincushion=float(rng.uniform(0.0, 0.08)), s_distortion=float(rng.uniform(-0.04, 0.04))
    )
    config = base.model_copy(
        update={
            "background": BackgroundConfig(kind="flat", thickness=0.1),
            "detector": base.detector.model_copy(update={"intensifier": bent}),
        }
    )
    phantom = load(BeadPhantomConfig, "bead_phantoms", "helix-64")
    taken = random_session(config, phantom, images, rng)
    return calibrate(taken.images, taken.nominal, phantom), taken.true


def calibration_is_accurate(seed: int) -> Check:
    """Return the check of a simulated calibration against its truth."""
    session, true = calibration_session(seed)
    worst = accuracy(session.calibration, true)
    record = session.calibration.record
    rms = session.calibration.reprojection_at_isocentre * 1e3
    return Check(
        claim="calibration with beads finds the pose and the distortion of a noisy C-arm",
        parameters=f"{IMAGES} images at 250 nGy, gantry 5 mm and 3 deg off and sagging, nothing "
        "known of the distortion (pincushion 0 to 0.08, S -0.04 to 0.04)",
        reference="the simulation's truth; worst image, isocentre in all three directions",
        acceptance="0.3 mm, 0.2 deg, 0.2 px anywhere in the field",
        result=f"{worst.isocentre * 1e3:.3f} mm, {np.rad2deg(worst.turn):.4f} deg, "
        f"{worst.distortion:.3f} px; reprojection {record.reprojection:.3f} px, {rms:.4f} mm",
        holds=worst.isocentre < PLACE and worst.turn < TURN and worst.distortion < BENT,
        limits="distance to the source known to 0.15 mm, the beads' places exactly",
        draw=lambda axes: _draw_residuals(axes, session),
    )


def _draw_residuals(axes: Any, session: Session) -> None:
    pixels = np.concatenate([v.pixels[k] for v, k in zip(session.views, session.solution.kept,
                                                         strict=True)])  # fmt: skip
    left = np.concatenate([r[k] for r, k in zip(session.solution.residuals, session.solution.kept,
                                                strict=True)])  # fmt: skip
    axes.quiver(*pixels.T, *left.T, angles="xy", scale_units="xy", scale=0.005, width=0.002)
    height, width = session.views[0].nominal.shape
    axes.set(aspect="equal", xlim=(0, width), ylim=(height, 0), xlabel="px", ylabel="x 200")
