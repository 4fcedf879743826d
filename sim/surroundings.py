"""What an X-ray meets besides the device: the vessel's contents and instruments."""

from __future__ import annotations

from mmdtwin.config import ScenarioConfig
from mmdtwin.geometry import Array
from mmdtwin.sim.instruments import instrument_bodies, on_table
from mmdtwin.sim.phantoms import Vessel
from mmdtwin.sim.shapes import Body, Mesh

NOT_DRAWN = "blood"  # contents that look like the tissue around them
AROUND = "soft-tissue"  # X-ray material that the contents of a vessel displace


class Surroundings:
    """Bodies that are placed anew only when they have moved: until then they are the same objects.

    Parameters
    ----------
    scenario : ScenarioConfig
        Its instruments, and the contents of its phantom.
    vessel : Vessel
        The phantom's.

    Raises
    ------
    UserError
        If an instrument does not fit.
    """

    def __init__(self, scenario: ScenarioConfig, vessel: Vessel) -> None:
        self._vessel, self._contents = vessel, scenario.phantom.contents
        self._carried: list[Body] = []
        self._still: list[Body] = []
        for config in scenario.instruments:
            bodies = instrument_bodies(config, vessel.map, self._contents)
            (self._still if on_table(config) else self._carried).extend(bodies)
        self._instruments: tuple[bytes, tuple[Body, ...]] = b"", ()
        self._lumen: tuple[bytes, Mesh | None] = b"", None

    def instruments(self, T_world_vessel: Array) -> tuple[Body, ...]:
        """Instruments in the world, with the vessel at a placement (4, 4)."""
        place = T_world_vessel.tobytes()
        if self._instruments[0] != place:
            carried = (body.placed(T_world_vessel) for body in self._carried)
            self._instruments = place, (*carried, *self._still)
        return self._instruments[1]

    def lumen(self, T_world_rest: Array) -> Mesh | None:
        """The vessel filled with its contents, at a placement (4, 4); None for blood."""
        if self._contents == NOT_DRAWN:
            return None
        place = T_world_rest.tobytes()
        if self._lumen[0] != place:
            vessel = self._vessel
            mesh = Mesh(vessel.vertices, vessel.faces, self._contents, displaces=AROUND)
            self._lumen = place, mesh.placed(T_world_rest)
        return self._lumen[1]
