"""Stokes flow about a sphere beside a plane wall, solved in bispherical coordinates.

The reference for the near-wall drag of beads. Pressure and the harmonic parts of the velocity are
sums over harmonics of bispherical coordinates (Dean and O'Neill, Mathematika 10 (1963) 13); their
coefficients meet no slip and continuity on sphere and plane in the least-squares sense. Lengths
are in radii, the viscosity is 1, the plane is z = 0.
"""

import numpy as np

SINGLE = "translation", "rotation", "shear"


def parallel(gap, terms=None):
    """Return the factors of Goldman, Cox and Brenner for a gap: F_t, T_t, F_r, T_r, F_s, T_s.

    F = 6 pi mu a (-F_t U + F_r a omega + F_s h S) and
    T = 8 pi mu a^2 (T_t U - T_r a omega + T_s a S / 2), U along x, omega about y, shear u = S z x.
    """
    alpha = np.arccosh(1.0 + gap)
    problem = _Problem(alpha, terms or int(8 / alpha) + 12)
    found = {}
    for name in SINGLE:
        force, torque = problem.solve(name)
        found[name] = force / (6 * np.pi), torque / (8 * np.pi)
    (ft, tt), (fr, tr), (fs, ts) = (found[name] for name in SINGLE)
    return {"F_t": -ft, "T_t": tt, "F_r": fr, "T_r": -tr, "F_s": fs / (1 + gap), "T_s": 2 * ts}


def normal(gap, terms=4000):
    """Return the drag of a sphere that moves towards the plane, over Stokes' (Brenner 1961)."""
    alpha = np.arccosh(1.0 + gap)
    n = np.arange(1, terms, dtype=float)
    n = n[(2 * n + 1) * alpha < 600]
    head = n * (n + 1) / ((2 * n - 1) * (2 * n + 3))
    top = 2 * np.sinh((2 * n + 1) * alpha) + (2 * n + 1) * np.sinh(2 * alpha)
    bottom = 4 * np.sinh((n + 0.5) * alpha) ** 2 - (2 * n + 1) ** 2 * np.sinh(alpha) ** 2
    return 4 / 3 * np.sinh(alpha) * np.sum(head * (top / bottom - 1))


class _Problem:
    """Harmonics, and their derivatives, on the plane and on the sphere xi = alpha."""

    def __init__(self, alpha, terms):
        self.alpha, self.terms, self.c = alpha, terms, np.sinh(alpha)
        mu, self.weight = np.polynomial.legendre.leggauss(2 * terms)
        self.eta = np.arccos(mu)
        self.legendre = self._legendre()

    def _legendre(self):
        """Values and eta-derivatives of sin^m eta d^m P_n / d mu^m for m = 0, 1, 2, scaled."""
        mu, sin = np.cos(self.eta)[:, None], np.sin(self.eta)[:, None]
        size = self.terms + 3
        p = np.zeros((4, len(self.eta), size))  # P_n and its derivatives
        p[0, :, 0] = 1.0
        p[0, :, 1:2], p[1, :, 1] = mu, 1.0
        for n in range(1, size - 1):
            p[0, :, n + 1] = ((2 * n + 1) * mu[:, 0] * p[0, :, n] - n * p[0, :, n - 1]) / (n + 1)
            for k in (1, 2, 3):
                p[k, :, n + 1] = p[k, :, n - 1] + (2 * n + 1) * p[k - 1, :, n]
        out = []
        for m in (0, 1, 2):
            n = np.arange(m, m + self.terms)
            scale = 1.0 / (n + 1.0) ** m
            value = sin**m * p[m][:, n] * scale
            slope = (m * sin ** max(m - 1, 0) * mu * p[m][:, n] if m else 0.0) - sin ** (m + 1) * (
                p[m + 1][:, n]
            )
            out.append((n, value, slope * scale))
        return out

    def fields(self, m, xi):
        """Return values, d/dxi, d/drho and d/dz of the 2 N harmonics of order m at xi."""
        n, y, y_eta = self.legendre[m]
        k, a = n + 0.5, self.alpha
        mu, sin = np.cos(self.eta)[:, None], np.sin(self.eta)[:, None]
        s2 = np.cosh(xi) - mu
        s = np.sqrt(s2)
        # Two solutions in xi, one rising to 1 at the sphere and one falling from 1 at the plane.
        low, end = np.exp(-2 * k * xi), 1 - np.exp(-2 * k * a)
        rise = np.exp(k * (xi - a)) * (1 - low) / end
        rise_xi = k * np.exp(k * (xi - a)) * (1 + low) / end
        back = np.exp(-2 * k * (a - xi))
        fall = np.exp(-k * xi) * (1 - back) / end
        fall_xi = -k * np.exp(-k * xi) * (1 + back) / end
        values, d_xi, d_eta = [], [], []
        for t, t_xi in ((rise, rise_xi), (fall, fall_xi)):
            values.append(s * y * t)
            d_xi.append(np.sinh(xi) / (2 * s) * y * t + s * y * t_xi)
            d_eta.append(sin / (2 * s) * y * t + s * y_eta * t)
        f, fx, fe = (np.hstack(v) for v in (values, d_xi, d_eta))
        along, across = (1 - np.cosh(xi) * mu) / self.c, sin * np.sinh(xi) / self.c
        return f, fx, -across * fx - along * fe, along * fx - across * fe

    def solve(self, motion):
        """Return force along x and torque about y on the sphere."""
        zero = np.zeros((len(self.eta), 2 * self.terms))
        rows, right = [], []
        for xi in (0.0, self.alpha):
            rho, z = self._place(xi)
            (q, _, q_r, q_z), (u0, _, u0_r, _), (u2, _, u2_r, _), (w, _, _, w_z) = (
                self.fields(m, xi) for m in (1, 0, 2, 1)
            )
            half, half_z = rho[:, None] / 2 * q, z[:, None] / 2 * q
            source = 1.5 * q + rho[:, None] / 2 * q_r + z[:, None] / 2 * q_z
            rows += [
                np.hstack([half, u0, zero, zero]),
                np.hstack([half, zero, u2, zero]),
                np.hstack([half_z, zero, zero, w]),
                np.hstack([source, u0_r / 2, u2_r / 2 + u2 / rho[:, None], w_z]),
            ]
            v_rho, v_phi, v_z = self._boundary(motion, xi, rho, z)
            right += [v_rho - v_phi, v_rho + v_phi, v_z, 0 * rho]
        matrix, target = np.vstack(rows), np.concatenate(right)
        scale = np.linalg.norm(matrix, axis=0)
        solution = np.linalg.lstsq(matrix / scale, target, rcond=1e-13)[0] / scale
        return self._force(motion, np.split(solution, 4))

    def _place(self, xi):
        s2 = np.cosh(xi) - np.cos(self.eta)
        return self.c * np.sin(self.eta) / s2, self.c * np.sinh(xi) / s2

    def _boundary(self, motion, xi, rho, z):
        """Velocity amplitudes (rho, phi, z) of the disturbance on the boundary."""
        if xi == 0.0:
            return 0 * rho, 0 * rho, 0 * rho
        one, above = np.ones_like(rho), z - np.cosh(self.alpha)
        return {
            "translation": (one, -one, 0 * rho),
            "rotation": (above, -above, -rho),
            "shear": (-z, z, 0 * rho),
        }[motion]

    def _force(self, motion, parts):
        """Integrate the traction -p n + du/dn over the sphere, u less the rigid motion."""
        rho, z = self._place(self.alpha)
        n_rho, n_z = rho, z - np.cosh(self.alpha)
        size = self.c / (np.cosh(self.alpha) - np.cos(self.eta))
        values = [self.fields(m, self.alpha) for m in (1, 0, 2, 1)]
        (q, _, _, _) = (f[0] @ p for f, p in zip(values, parts, strict=True))
        (q_x, u0_x, _, w_x) = (f[1] @ p for f, p in zip(values, parts, strict=True))
        rho_x = -self.c * np.sin(self.eta) * np.sinh(self.alpha) * size**2 / self.c**2
        z_x = self.c * (1 - np.cosh(self.alpha) * np.cos(self.eta)) * size**2 / self.c**2
        u_x = -(rho_x * q / 2 + rho * q_x / 2 + u0_x) / 2 / size
        u_z = -(z_x * q / 2 + z * q_x / 2 + w_x) / size
        f_x = -q * n_rho / 2 + u_x
        f_z = -q * n_z + u_z
        if motion == "rotation":
            f_x, f_z = f_x - n_z, f_z + n_rho
        if motion == "shear":
            f_x = f_x + n_z
        area = 2 * np.pi * rho * size * self.weight / np.sin(self.eta)
        return np.sum(f_x * area), np.sum((n_z * f_x - n_rho * f_z / 2) * area)
