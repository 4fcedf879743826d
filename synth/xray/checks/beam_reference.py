"""What the checks of the beam compare with."""

from __future__ import annotations

# mu/rho in cm2/g at 40, 60 and 80 keV: Hubbell and Seltzer, NISTIR 5632, for water, cortical bone
# (ICRU-44), iron and iodine; computed with xraydb for the compounds.
MASS_ATTENUATION = {
    "water": (0.2683, 0.2059, 0.1837),
    "bone": (0.6655, 0.3148, 0.2229),
    "silicone": (0.4167, 0.2460, 0.1980),
    "iron": (3.629, 1.205, 0.5952),
    "ndfeb": (4.176, 3.628, 1.724),
    "I": (22.10, 7.577, 3.510),
}

# Name, then mean energy in keV, half-value layer in mm Al, fluence in 1/(m2 A s) and air kerma in
# uGy/mAs at 1 m: SpekPy 2.5.4, tungsten, 12 deg, 0.1 keV bins; its own (PENELOPE's) cross sections,
# but NIST's for tin, whose edge PENELOPE puts 3 % lower: that alone moves the layer by 2 %.
SPECTRA = (
    ("60kVp-3Al", 36.76, 2.305, 6.497e14, 40.32),
    ("80kVp-2.5Al", 42.90, 2.734, 1.524e15, 81.98),
    ("80kVp-2.5Al-0.2Cu", 50.91, 5.501, 6.595e14, 24.75),
    ("100kVp-2.5Al", 49.15, 3.458, 2.512e15, 118.9),
    ("120kVp-2.5Al", 54.45, 4.219, 3.616e15, 158.7),
    ("42.5kVp-1.5Al", 27.45, 1.115, 3.982e14, 41.99),
    ("55.5kVp-2Al-0.1Cu", 37.86, 2.936, 3.117e14, 17.04),
    ("65.3kVp-2.5Al-0.3Cu", 46.70, 5.142, 2.2e14, 8.531),
    ("71.5kVp-21Al", 52.19, 6.591, 9.513e13, 3.242),
    ("77.7kVp-3Al-0.9Cu", 58.84, 8.358, 1.221e14, 3.776),
    ("93.5kVp-2.5Al-0.5Sn", 68.30, 8.748, 1.326e14, 4.448),
    ("109.6kVp-3Al-0.6Cu", 67.89, 9.708, 8.278e14, 26.18),
    ("124.5kVp-2.5Al-1Ti", 65.01, 8.192, 2.12e15, 72.42),
)

# Device, thickness in m, Michelson contrast without and with scatter: behind 3 cm of soft tissue
# at 60 kVp (scatter to primary .3), and behind 20 cm at 80 kVp with copper (3). The device
# displaces water; the detector integrates energy. Computed apart from this package with xraylib.
THIN, THICK = ("60kVp-3Al", 0.03, 0.3), ("80kVp-2.5Al-0.2Cu", 0.20, 3.0)
CONTRAST = (
    ("ndfeb-silicone", 0.185e-3, THIN, 0.057, 0.043),
    ("ndfeb-silicone", 0.185e-3, THICK, 0.035, 0.009),
    ("ndfeb-silicone:0.2", 1e-3, THIN, 0.423, 0.297),
    ("ndfeb-silicone:0.2", 1e-3, THICK, 0.284, 0.059),
    ("ferrofluid:0.1", 2e-3, THIN, 0.148, 0.110),
    ("ferrofluid:0.1", 2e-3, THICK, 0.057, 0.014),
    ("iodine:300", 3e-3, THIN, 0.601, 0.406),
    ("iodine:300", 3e-3, THICK, 0.367, 0.072),
    ("bone", 5e-3, THIN, 0.258, 0.187),
    ("bone", 5e-3, THICK, 0.116, 0.027),
    ("steel", 0.35e-3, THIN, 0.440, 0.307),
    ("steel", 0.35e-3, THICK, 0.192, 0.042),
)
PRINTED = 5e-4  # half a unit of the last digit printed above

# Share of the photons that CsI of 600 um at 75 % packing absorbs.
ABSORBED = (("60kVp-3Al", 0.94), ("80kVp-2.5Al-0.2Cu", 0.87), ("110kVp-2.5Al-0.2Cu", 0.77))

# Fluence over that of the central ray, by deg towards the anode: SpekPy 2.5.4 off its axis, its
# longer way taken out, filters not oblique; and the same of the energy that CsI absorbs behind
# 20 cm of water.
HEEL_ANGLES = (-9.0, -3.0, 3.0, 5.0, 7.0, 9.5)
HEEL = {
    "65kVp-3Al": (
        (1.0286, 1.0159, 0.9705, 0.9364, 0.8792, 0.7254),
        (0.9834, 0.9966, 0.9979, 0.9900, 0.9702, 0.8930),
    ),
    "118kVp-2.5Al-0.3Cu": (
        (1.0371, 1.0193, 0.9660, 0.9280, 0.8649, 0.6958),
        (1.0270, 1.0152, 0.9718, 0.9389, 0.8829, 0.7259),
    ),
}
