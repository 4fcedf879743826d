"""Registration of the stage that positions the sensor, by points whose place is known."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy.spatial.transform import Rotation

from mmdtwin.errors import UserError
from mmdtwin.geometry import Array, apply, transform
from mmdtwin.sim.magnetics.calibration.reading import check_columns, check_finite, read_table

MIN_FIDUCIALS = 3
MIN_SPREAD = 0.02  # second over first rms extent of the fiducials: less is a line


@dataclass(frozen=True, eq=False)
class Registration:
    """Rigid registration of the stage to the coils.

    Parameters
    ----------
    T_coils_stage : (4, 4) array
        Takes the stage's coordinates to the coils'.
    rms : float
        Length of what remains at the fiducials, m.
    fiducials : (n, 3) array
        Where it puts them, m in the coils' frame.
    """

    T_coils_stage: Array
    rms: float
    fiducials: Array

    @property
    def origin(self) -> Array:
        """Where the stage's origin lies in the coils' frame, (3,) m."""
        return self.T_coils_stage[:3, 3]

    @property
    def turn(self) -> Array:
        """How the stage's axes are turned in the coils', a rotation vector (3,) rad."""
        return np.asarray(Rotation.from_matrix(self.T_coils_stage[:3, :3]).as_rotvec())

    def errors_at(self, points: Array) -> Array | None:
        """Return the standard errors of registered points.

        Covariance of the least squares over shift and small turn, with the noise of the fiducials
        taken as equal in all directions and estimated from what remains, 3 n numbers less the 6
        fitted (Fitzpatrick, West and Maurer 1998, IEEE Trans. Med. Imaging 17, 694): it grows with
        the distance from their centre.

        Parameters
        ----------
        points : (m, 3) array
            m, in the coils' frame.

        Returns
        -------
        (m, 3) array in m, or None for three fiducials: across their plane nothing remains to tell.
        """
        n, centre = len(self.fiducials), self.fiducials.mean(axis=0)
        if n <= MIN_FIDUCIALS:
            return None
        variance = n * self.rms**2 / (3 * n - 6)  # of one coordinate of a fiducial
        arms = self.fiducials - centre
        inertia = np.sum(arms**2) * np.eye(3) - arms.T @ arms
        levers = np.cross(np.eye(3), (points - centre)[:, None])  # (m, turn, coordinate)
        turned = np.einsum("mki,kl,mli->mi", levers, np.linalg.inv(inertia), levers)
        return np.asarray(np.sqrt(variance * (1 / n + turned)))


def read_fiducials(path: str | Path) -> Registration:
    """Register stage and coils from rows x,y,z (stage, m) and x_coils,y_coils,z_coils (m).

    Raises
    ------
    UserError
        If there are fewer than three fiducials, or they lie on a line.
    """
    header, table, lines = read_table(path)
    expected = [*"xyz", *(f"{axis}_coils" for axis in "xyz")]
    check_columns(path, header, expected)
    table = table[:, [header.index(name) for name in expected]]
    check_finite(path, table, lines)
    stage, coils = table[:, :3], table[:, 3:]
    extents = np.linalg.svd(stage - stage.mean(axis=0), compute_uv=False)
    if len(stage) < MIN_FIDUCIALS or extents[1] < MIN_SPREAD * extents[0]:
        raise UserError(
            f"{path}: {len(stage)} fiducials; at least {MIN_FIDUCIALS} are needed that do not lie"
            " on a line"
        )
    return register(stage, coils)


def register(stage: Array, coils: Array) -> Registration:
    """Return the rigid motion that takes points (n, 3) m of the stage nearest those of the coils.

    Least squares over rotation and translation (Kabsch 1976, Acta Cryst. A32, 922).
    """
    u, _, vt = np.linalg.svd((stage - stage.mean(axis=0)).T @ (coils - coils.mean(axis=0)))
    flip = np.diag([1.0, 1.0, np.sign(np.linalg.det(u @ vt))])
    rotation = (u @ flip @ vt).T
    T = transform(rotation, coils.mean(axis=0) - rotation @ stage.mean(axis=0))
    rms = float(np.sqrt(np.mean(np.sum((apply(T, stage) - coils) ** 2, axis=1))))
    return Registration(T, rms, apply(T, stage))
