"""Images of a bead phantom in front of an imager that stands where it should not."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from mmdtwin.config.bead_phantom import BeadPhantomConfig
from mmdtwin.config.imager import ImagerConfig
from mmdtwin.errors import UserError
from mmdtwin.frame import Projection
from mmdtwin.geometry import Array, random_offset
from mmdtwin.sim.scene import Scene
from mmdtwin.sim.shapes import Solids
from mmdtwin.synth.xray.imager import Imager

REACH = np.deg2rad(35.0)  # to which the gantry turns either way, rad
OFFSET = (5e-3, np.deg2rad(3.0))  # rms of where the gantry stands: m, rad
SAG = (0.5e-3, np.deg2rad(0.3))  # rms by which it differs from image to image: m, rad; assumed


@dataclass(frozen=True, eq=False)
class BeadImages:
    """A session, with the truth.

    Parameters
    ----------
    images : list of (h, w) uint16 array
    nominal, true : list of Projection
        What a laboratory would believe of each image, its distortion being unknown, and what is.
    """

    images: list[NDArray[np.uint16]]
    nominal: list[Projection]
    true: list[Projection]


def bead_images(
    config: ImagerConfig,
    phantom: BeadPhantomConfig,
    angles: Sequence[tuple[float, float]],
    rng: np.random.Generator,
    T_world_imager: Array,
) -> BeadImages:
    """Image a phantom at several gantry angles.

    Parameters
    ----------
    config : ImagerConfig
        The imager, with a background that any angle has ("flat" or "ct").
    phantom : BeadPhantomConfig
        Its frame is the world's.
    angles : sequence of (float, float)
        Nominal primary and secondary angles, rad.
    rng : Generator
        Draws sag and noise.
    T_world_imager : (4, 4) array
        Where the gantry stands, m; it also sags by `SAG` from image to image.

    Raises
    ------
    UserError
        If the background is of another kind.
    """
    if config.background.kind not in ("flat", "ct"):
        raise UserError(
            f"background.kind: '{config.background.kind}' has gantry angles of its own; images of "
            "a phantom need flat or ct"
        )
    balls = Solids.balls(phantom.positions, phantom.diameters / 2, phantom.material)
    scene = Scene(time=0.0, device=(balls,))
    images, nominal, true = [], [], []
    for primary, secondary in angles:
        turned = config.model_copy(update={"primary": primary, "secondary": secondary})
        place = T_world_imager @ random_offset(rng, *SAG)
        imager = Imager(turned, rng, rng, place)
        images.append(imager.expose([scene]).image)
        nominal.append(_undistorted(Projection.from_config(turned)))
        true.append(imager.projection)
    return BeadImages(images, nominal, true)


def _undistorted(projection: Projection) -> Projection:
    bent = projection.distortion
    if bent is None:
        return projection
    return replace(projection, distortion=replace(bent, pincushion=0.0, s_distortion=0.0))


def random_session(
    config: ImagerConfig, phantom: BeadPhantomConfig, count: int, rng: np.random.Generator
) -> BeadImages:
    """Image a phantom `count` times at random angles, with the gantry displaced at random."""
    angles = [tuple(rng.uniform(-REACH, REACH, 2).tolist()) for _ in range(count)]
    return bead_images(config, phantom, angles, rng, random_offset(rng, *OFFSET))
