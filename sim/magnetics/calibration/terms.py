"""What a calibration may change of each coil's unit field, and how far: modes with priors.

A coil as drawn is scaled, shifted, tilted and resized, and low harmonics are added for what no
drawing knows: iron nearby, cores that magnetise each other, windings that are not quite regular.
Without a drawing there are harmonics alone.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from scipy.spatial.transform import Rotation

from mmdtwin.config.coils import CoilConfig, CoilsConfig
from mmdtwin.geometry import Array, sphere_points
from mmdtwin.sim.magnetics.calibration.samples import Mask
from mmdtwin.sim.magnetics.coil_system import CoilSystem
from mmdtwin.sim.magnetics.filaments import filaments_of
from mmdtwin.sim.magnetics.fit import OVERSAMPLING, potential_of
from mmdtwin.sim.magnetics.harmonics import derivative_matrices, harmonic_basis, n_harmonics

# Standard deviations before the data speak, assumed from how well magnets are wound and placed;
# each kind is then scaled by what the data show (`robust.with_scales`).
GAIN, SHIFT, TILT, SIZE = 0.05, 2e-3, 0.03, 0.02  # -, m, rad, -
DRAWN_PRIOR = np.array([GAIN, *[SHIFT] * 3, *[TILT] * 3, SIZE])
DRAWN_KINDS = np.array([0, 1, 1, 1, 2, 2, 2, 3])
# Differences for the modes: small beside the distance to a winding, large beside rounding.
STEPS = np.array([*[1e-4] * 3, *[1e-3] * 3, 1e-3])  # m, rad, -
STRAY = 0.01  # rms field of a free harmonic of the lowest degree over the coil's, assumed
DECAY = 0.6  # per degree: sources lie further away than the samples
LENGTHS = (
    "inner_radius", "outer_radius", "radius", "thickness", "length", "width", "height", "straight",
)  # fmt: skip


@dataclass(frozen=True, eq=False)
class Harmonics:
    """Fields of the solid harmonics of degree 1 .. degree, each of rms 1 on the sphere of `scale`.

    Parameters
    ----------
    scale : float
        m.
    degree : int
        Of the potentials.
    """

    scale: float
    degree: int

    @cached_property
    def degrees(self) -> Array:
        """Degree of each potential, (h,)."""
        degrees = np.arange(1, self.degree + 1)
        return np.repeat(degrees, 2 * degrees + 1)

    def fields(self, points: Array) -> Array:
        """Return the fields (n, h, 3) at points (n, 3) m."""
        return self._fields(points) / self._sizes[:, None]

    def potential(self, amounts: Array) -> Array:
        """Return coefficients (c, n_harmonics) of amounts (c, h) of the fields."""
        return np.pad(amounts / self._sizes, [(0, 0), (1, 0)])

    def _fields(self, points: Array) -> Array:
        basis = harmonic_basis(np.ascontiguousarray(points), self.scale, self.degree)
        derivatives = derivative_matrices(self.degree, self.scale)
        return np.stack([basis @ d for d in derivatives], axis=-1)[:, 1:]

    @cached_property
    def _sizes(self) -> Array:
        sphere = sphere_points(OVERSAMPLING * n_harmonics(self.degree)) * self.scale
        return np.sqrt(np.mean(np.sum(self._fields(sphere) ** 2, axis=-1), axis=0))


@dataclass(frozen=True, eq=False)
class UnitTerms:
    """Unit fields at the samples, linear in parameters about a reference.

    Parameters
    ----------
    reference : (c, k) array
        Parameters at which `base` and `modes` hold.
    base : (n, c, 3) array
        Unit fields there, T/A.
    modes : (n, c, k, 3) array
        Their derivatives.
    prior : (c, k) array
        Standard deviation of each parameter about 0.
    kinds : (k,) int array
        Parameters of one kind share one scale of their prior.
    slopes : (n, c, 3, 3) array or None
        Gradient of the unit fields, where the sensor's position offset is fitted.
    """

    reference: Array
    base: Array
    modes: Array
    prior: Array
    kinds: Array
    slopes: Array | None = None

    def fields(self, parameters: Array, offset: Array) -> Array:
        """Return unit fields (n, c, 3) with parameters (c, k), at positions off by `offset` m."""
        result = self.base + np.einsum("nckj,ck->ncj", self.modes, parameters - self.reference)
        return result if self.slopes is None else result + self.slopes @ offset

    def rows(self, chosen: Mask) -> UnitTerms:
        """Return the terms at some of the samples."""
        return replace(
            self,
            base=self.base[chosen],
            modes=self.modes[chosen],
            slopes=None if self.slopes is None else self.slopes[chosen],
        )


@dataclass(frozen=True, eq=False)
class Drawn:
    """Coils as drawn, with free harmonics up to a degree.

    Parameters
    ----------
    config : CoilsConfig
        The drawing.
    free_degree : int
        Of the free harmonics' potentials; 0 for none.
    rigid : bool
        Geometry stays as drawn: the gains alone are parameters, and the sensor's position offset.
    """

    config: CoilsConfig
    free_degree: int
    rigid: bool = False

    @property
    def n_modes(self) -> int:
        """Parameters per coil."""
        return self._n_drawn + n_harmonics(self.free_degree) - 1

    @property
    def _n_drawn(self) -> int:
        return 1 if self.rigid else len(DRAWN_PRIOR)

    def terms(self, points: Array, parameters: Array, offset: Array) -> UnitTerms:
        """Return the terms at points (n, 3) m about parameters (c, k) and a position offset m."""
        m = self._n_drawn
        gain = 1 + parameters[:, :1]
        drawn = _unit_fields(self._moved(parameters), points + offset)
        modes = [drawn] if self.rigid else [drawn, *self._geometry_modes(points, parameters, gain)]
        base, kinds = gain * drawn, DRAWN_KINDS[:m]
        prior = np.tile(DRAWN_PRIOR[:m], (len(gain), 1))
        stacked = np.stack(modes, axis=2)
        if self.free_degree:
            free = self._free.fields(points)
            base = base + np.einsum("nhj,ch->ncj", free, parameters[:, m:])
            size = np.sqrt(np.mean(np.sum(drawn**2, axis=-1), axis=0))
            decay = DECAY ** (self._free.degrees - 1.0)
            prior = np.hstack([prior, STRAY * size[:, None] * decay])
            kinds = np.concatenate([kinds, np.full(len(decay), kinds[-1] + 1)])
            shared = np.broadcast_to(free[:, None], (*base.shape[:2], *free.shape[1:]))
            stacked = np.concatenate([stacked, shared], axis=2)
        if not self.rigid:
            return UnitTerms(parameters, base, stacked, prior, kinds)
        slopes = gain[:, :, None] * _slopes(self.config, points + offset)
        return UnitTerms(parameters, base - slopes @ offset, stacked, prior, kinds, slopes)

    def potential(self, parameters: Array) -> Array:
        """Return potentials (c, n_harmonics) T m/A of parameters (c, k), scaled by `scale`."""
        m = self._n_drawn
        drawn = potential_of(filaments_of(self._moved(parameters)), self.scale, self.degree)
        result = (1 + parameters[:, :1]) * drawn
        if self.free_degree:
            stray = self._free.potential(parameters[:, m:])
            result[:, : stray.shape[1]] += stray
        return result

    @property
    def scale(self) -> float:
        """Length that the potentials are scaled by, m."""
        return self.config.workspace_radius

    @cached_property
    def degree(self) -> int:
        """Degree of the potentials: what the coils as drawn take."""
        return CoilSystem(self.config).degree

    @cached_property
    def _free(self) -> Harmonics:
        return Harmonics(self.scale, self.free_degree)

    def _moved(self, parameters: Array) -> CoilsConfig:
        if self.rigid:
            return self.config
        coils = zip(self.config.coils, parameters[:, 1 : len(DRAWN_PRIOR)], strict=True)
        moved = tuple(moved_coil(coil, geometry) for coil, geometry in coils)
        return self.config.model_copy(update={"coils": moved})

    def _geometry_modes(self, points: Array, parameters: Array, gain: Array) -> list[Array]:
        modes = []
        for k, step in enumerate(STEPS, 1):
            sides = []
            for sign in (1.0, -1.0):
                there = parameters.copy()
                there[:, k] += sign * step
                sides.append(_unit_fields(self._moved(there), points))
            modes.append(gain * (sides[0] - sides[1]) / (2 * step))
        return modes


@dataclass(frozen=True, eq=False)
class Free:
    """Coils of unknown shape: harmonics about the origin.

    Parameters
    ----------
    scale : float
        Length that the harmonics are scaled by, m.
    degree : int
        Of the potentials.
    size : float
        Expected rms of a unit field, T/A.
    n_coils : int
    """

    scale: float
    degree: int
    size: float
    n_coils: int

    @property
    def n_modes(self) -> int:
        """Parameters per coil."""
        return n_harmonics(self.degree) - 1

    def terms(self, points: Array, parameters: Array, offset: Array) -> UnitTerms:
        """Return the terms at points (n, 3) m; `offset` is not used, as it cannot be told."""
        del offset
        fields = self._harmonics.fields(points)
        shape = (len(points), self.n_coils)
        return UnitTerms(
            reference=np.zeros_like(parameters),
            base=np.zeros((*shape, 3)),
            modes=np.broadcast_to(fields[:, None], (*shape, *fields.shape[1:])),
            prior=np.full(parameters.shape, self.size),
            kinds=self._harmonics.degrees - 1,
        )

    def potential(self, parameters: Array) -> Array:
        """Return potentials (c, n_harmonics) T m/A of parameters (c, k), scaled by `scale`."""
        return self._harmonics.potential(parameters)

    @cached_property
    def _harmonics(self) -> Harmonics:
        return Harmonics(self.scale, self.degree)


def moved_coil(coil: CoilConfig, geometry: Array) -> CoilConfig:
    """Return a coil shifted (3, m), turned about its centre (rotation vector) and resized (1)."""
    turn = Rotation.from_rotvec(geometry[3:6])
    update: dict[str, object] = {
        "position": tuple(np.asarray(coil.position) + geometry[:3]),
        "axis": tuple(turn.apply(coil.axis)),
    }
    if hasattr(coil, "side"):
        update["side"] = tuple(turn.apply(coil.side))
    lengths = [name for name in LENGTHS if hasattr(coil, name)]
    update |= {name: getattr(coil, name) * (1 + geometry[6]) for name in lengths}
    return coil.model_copy(update=update)


def drawn_field(config: CoilsConfig, points: Array, currents: Array) -> Array:
    """Return the field (n, 3) T of coils as drawn at points (n, 3) m and currents (n, c) A."""
    effective = config.saturation.effective(currents)
    return np.einsum("nc,ncj->nj", effective, _unit_fields(config, points))


def _unit_fields(config: CoilsConfig, points: Array) -> Array:
    return np.stack([coil.field(points) for coil in filaments_of(config)], axis=1)


def _slopes(config: CoilsConfig, points: Array) -> Array:
    """Return the gradient (n, c, 3, 3) of the drawn unit fields by central differences."""
    step = STEPS[0]
    axes = np.eye(3) * step
    sides = [_unit_fields(config, points + a) - _unit_fields(config, points - a) for a in axes]
    return np.stack(sides, axis=-1) / (2 * step)
