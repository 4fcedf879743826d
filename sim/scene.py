"""What an X-ray meets: the bodies of a world at one moment."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from mmdtwin.geometry import Array
from mmdtwin.sim.shapes import Body, Mesh


@dataclass(frozen=True, eq=False)
class Scene:
    """The bodies of a world, in the world's frame.

    Parameters
    ----------
    time : float
        s.
    device : tuple of Body
        The device; several bodies where it is of several materials.
    instruments : tuple of Body
        Catheters, wires, stents, leads and rulers, where they are now.
    lumen : Mesh or None
        The vessel filled with its contents, while the anatomy is at rest; None if its contents are
        not to be seen.
    displacement : (3,) array
        Of the anatomy from rest, m: lumen and background move by it.
    """

    time: float
    device: tuple[Body, ...]
    instruments: tuple[Body, ...] = ()
    lumen: Mesh | None = None
    displacement: Array = field(default_factory=lambda: np.zeros(3))
