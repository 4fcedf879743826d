"""Instruments that an X-ray shows beside the device, as bodies.

They are images only: the physics of device and flow does not feel them.
"""

from __future__ import annotations

import numpy as np
from scipy.interpolate import CubicSpline

from mmdtwin.config.instruments import (
    CatheterConfig,
    ClipConfig,
    EcgLeadConfig,
    GuidewireConfig,
    InstrumentConfig,
    InVesselConfig,
    LongInstrumentConfig,
    RulerConfig,
    StentConfig,
)
from mmdtwin.errors import UserError
from mmdtwin.geometry import Array, arclength, unit
from mmdtwin.sim.shapes import Body, Solids, Wire
from mmdtwin.vessel import Branch, VesselMap, smoothed

STEP = 0.4e-3  # m between the points of a long instrument
TURN_POINTS = 32  # points per turn of a helix
STIFFNESS = 5.0  # steps, Gaussian sigma over which an instrument evens out the wall, assumed
LEAD_STEP = 2e-3  # m between the points of an ECG lead
BEND_POINTS = 9  # of the bend of a clip
# Of the ring that a coil of touching turns fills, its round wire fills this share.
COIL_FILL = np.pi / 4


def on_table(config: InstrumentConfig) -> bool:
    """True for what stays in the world; the rest is in the vessel's frame and moves with it."""
    return isinstance(config, EcgLeadConfig | RulerConfig)


def instrument_bodies(
    config: InstrumentConfig, vessel_map: VesselMap, contents: str
) -> tuple[Body, ...]:
    """Return an instrument's bodies, in the vessel's frame, or the world's if it is `on_table`.

    Parameters
    ----------
    config : InstrumentConfig
        What it is and where.
    vessel_map : VesselMap
        Of a vessel with a flow's inlet.
    contents : str
        X-ray material in the vessel, which what lies there displaces.

    Raises
    ------
    UserError
        If its branch is unknown, or it fits there neither in width nor in length.
    """
    if isinstance(config, CatheterConfig):
        return _catheter(config, vessel_map, contents)
    if isinstance(config, GuidewireConfig):
        return _guidewire(config, vessel_map, contents)
    if isinstance(config, StentConfig):
        return _stent(config, vessel_map, contents)
    if isinstance(config, ClipConfig):
        return _clip(config)
    if isinstance(config, EcgLeadConfig):
        return _ecg_lead(config)
    return _ruler(config)


def _catheter(config: CatheterConfig, vessel_map: VesselMap, contents: str) -> tuple[Body, ...]:
    outer, inner = config.diameter / 2, config.inner_diameter / 2
    marker = config.marker
    line = _lie(config, vessel_map, outer + (marker.thickness if marker else 0.0))
    tube = Wire(line, outer, config.material, inner, contents)
    if marker is None:
        return (tube,)
    end = arclength(line)[-1] - marker.from_tip
    if end - marker.length <= 0.0:
        raise UserError(
            f"catheter: its {_mm(arclength(line)[-1])} in the vessel are too short for its marker"
        )
    band = _stretch(line, end - marker.length, end)
    return tube, Wire(band, outer + marker.thickness, marker.material, outer, contents)


def _guidewire(config: GuidewireConfig, vessel_map: VesselMap, contents: str) -> tuple[Body, ...]:
    radius, tip = config.diameter / 2, config.tip
    line = _lie(config, vessel_map, radius)
    if tip is None:
        return (Wire(line, radius, config.material, displaces=contents),)
    length = arclength(line)[-1]
    start = max(length - tip.length, 0.0)
    end = _stretch(line, start, length)
    # A tube of the coil's mass: the gaps between round turns are finer than a pixel.
    ring = COIL_FILL * (radius**2 - (radius - tip.wire_diameter) ** 2)
    coil = Wire(end, radius, tip.material, np.sqrt(radius**2 - ring), contents)
    core = Wire(end, tip.core_diameter / 2, config.material, displaces=contents)
    if start == 0.0:
        return core, coil
    return Wire(_stretch(line, 0.0, start), radius, config.material, displaces=contents), core, coil


def _stent(config: StentConfig, vessel_map: VesselMap, contents: str) -> tuple[Body, ...]:
    branch, middle = _place(config, vessel_map)
    low, high = middle - config.length / 2, middle + config.length / 2
    if low < 0.0 or high > branch.length:
        raise UserError(
            f"stent: {_mm(config.length)} long, {_mm(middle)} along '{config.branch or 'inlet'}', "
            f"which is {_mm(branch.length)} long; move or shorten it"
        )
    turns = config.length / config.pitch
    s = np.linspace(low, high, max(int(np.ceil(turns * TURN_POINTS)), 8) + 1)
    axis, room = branch.at(s)
    held = np.minimum(smoothed(room[:, None], STIFFNESS)[:, 0], room)
    radius = np.minimum(held, config.diameter / 2) - config.wire_diameter / 2
    if radius.min() <= 0.0:
        raise UserError("stent: its wires are thicker than the lumen; choose thinner ones")
    first, second = _normals(axis)
    bodies = []
    for number in range(config.wires):
        for hand in (1, -1):
            phase = 2 * np.pi * (number / config.wires + hand * (s - low) / config.pitch)
            across = np.cos(phase)[:, None] * first + np.sin(phase)[:, None] * second
            points = axis + radius[:, None] * across
            bodies.append(
                Wire(points, config.wire_diameter / 2, config.material, displaces=contents)
            )
    return tuple(bodies)


def _clip(config: ClipConfig) -> tuple[Body, ...]:
    direction = unit(config.direction)
    across = unit(np.array(config.across) - direction * (direction @ np.array(config.across)))
    half = config.width / 2
    angle = np.linspace(np.pi / 2, 3 * np.pi / 2, BEND_POINTS)[:, None]
    bend = half * (np.cos(angle) * direction + np.sin(angle) * across)
    leg = (config.length - half) * direction
    points = np.concatenate([[half * across + leg], bend, [-half * across + leg]])
    points += np.array(config.position) - direction * (config.length / 2 - half)
    return (Wire(points, config.wire_diameter / 2, config.material, displaces="soft-tissue"),)


def _ecg_lead(config: EcgLeadConfig) -> tuple[Body, ...]:
    given = np.array(config.lead)
    s = arclength(given)
    even = np.linspace(0.0, s[-1], max(int(np.ceil(s[-1] / LEAD_STEP)), 1) + 1)
    line = CubicSpline(s, given)(even) if len(given) > 2 else _stretch(given, 0.0, s[-1])
    half = np.array([config.snap_diameter, config.snap_diameter, config.snap_thickness]) / 2
    snap = Solids(
        given[:1], np.eye(3)[None], half[None], config.snap_material, "ellipsoid", displaces="air"
    )
    return snap, Wire(line, config.wire_diameter / 2, config.wire_material, displaces="air")


def _ruler(config: RulerConfig) -> tuple[Body, ...]:
    steps = config.spacing * np.arange(config.count)[:, None]
    n = config.count
    return (
        Solids(
            np.array(config.start) + steps * unit(config.direction),
            np.tile(np.eye(3), (n, 1, 1)),
            np.full((n, 3), config.diameter / 2),
            config.material,
            "ellipsoid",
            displaces="air",
        ),
    )


def _place(config: InVesselConfig, vessel_map: VesselMap) -> tuple[Branch, float]:
    """The branch of an instrument, and where along it, m from its start, the instrument is."""
    branches, inlet = vessel_map.branches, vessel_map.inlet
    if config.branch is None:
        branch = next(b for b in branches.values() if inlet in (b.start, b.end))
    elif config.branch in branches:
        branch = branches[config.branch]
    else:
        raise UserError(
            f"instruments: unknown branch '{config.branch}'; allowed: {', '.join(branches)}"
        )
    depth = branch.length / 2 if config.depth is None else config.depth
    if depth > branch.length:
        raise UserError(
            f"instruments: depth {_mm(depth)} is beyond the end of the branch, which is "
            f"{_mm(branch.length)} long"
        )
    entry = _inlet_point(vessel_map)
    ways = [vessel_map.path(entry, end).length for end in (branch.points[0], branch.points[-1])]
    return branch, depth if ways[0] <= ways[1] else branch.length - depth


def _inlet_point(vessel_map: VesselMap) -> Array:
    inlet = vessel_map.inlet
    branch = next(b for b in vessel_map.branches.values() if inlet in (b.start, b.end))
    return branch.points[0 if branch.start == inlet else -1]


def _lie(config: LongInstrumentConfig, vessel_map: VesselMap, radius: float) -> Array:
    """Points (n, 3) m of an instrument of a radius from the inlet to its tip, in the lumen."""
    branch, at = _place(config, vessel_map)
    route = vessel_map.path(_inlet_point(vessel_map), branch.at(at)[0])
    if route.length < STEP:
        raise UserError("instruments: the tip of one is at the inlet; give it a larger depth")
    n = max(int(np.ceil(route.length / STEP)), 2) + 1
    s = np.linspace(0.0, route.length, n)
    middle = np.stack([np.interp(s, route.arclength, x) for x in route.points.T], axis=1)
    room = np.interp(s, route.arclength, route.radius) - radius
    if room.min() < 0.0:
        narrow = int(room.argmin())
        raise UserError(
            f"instruments: one {_mm(2 * radius)} wide does not fit the lumen of "
            f"{_mm(2 * (room[narrow] + radius))}, {_mm(s[narrow])} from the inlet"
        )
    first, second = _normals(middle)
    across = np.cos(config.angle) * first + np.sin(config.angle) * second
    off = config.offset * np.minimum(smoothed(room[:, None], STIFFNESS)[:, 0], room)
    return middle + off[:, None] * across


def _normals(points: Array) -> tuple[Array, Array]:
    """Two unit vectors (n, 3) across a curve that turn about it as little as they can."""
    tangents = unit(np.gradient(points, axis=0))
    first = np.empty_like(tangents)
    across = np.cross(tangents[0], np.eye(3)[np.abs(tangents[0]).argmin()])
    for i, tangent in enumerate(tangents):
        across = first[i] = unit(across - tangent * (tangent @ across))
    return first, np.cross(tangents, first)


def _stretch(points: Array, start: float, end: float) -> Array:
    """The part of a polyline (n, 3) between two arclengths in m."""
    s = arclength(points)
    inside = s[(s > start) & (s < end)]
    at = np.concatenate([[start], inside, [end]])
    return np.stack([np.interp(at, s, x) for x in points.T], axis=1)


def _mm(length: float) -> str:
    return f"{length * 1e3:.2f} mm"
