"""Make the table of X-ray spectra that ships with the package.

Run ``python -m mmdtwin.synth.make_spectra [FILE]`` in a checkout, with the extra ``spectra``
installed (spekpy); it writes ``synth/data/spectra.npz`` by default. Tungsten, 12 deg anode angle,
no filter but the anode itself: `load_spectrum` adds filters.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np

from mmdtwin.files import replacing
from mmdtwin.geometry import Array

ANODE_ANGLE = 12.0  # deg
PEAKS = np.arange(30, 151)  # kVp
EDGES = np.arange(1, 151)  # keV, of the bins; SpekPy has nothing below
HEEL_PEAKS = np.array([30, 40, 50, 60, 70, 80, 90, 100, 110, 120, 135, 150])  # kVp
# deg towards the anode; at its own angle the beam is grazing and ends.
HEEL_ANGLES = np.array([-18, -14, -10, -7, -4, -2, *range(12), 11.5])
DISTANCE = 100.0  # cm
PER_M2_AS = 1e7  # photons per cm2 and mAs -> per m2 and A s


def tube_spectrum(peak: float, angle: float = 0.0) -> Array:
    """Return photons per 1 keV bin, (149,) per m2 and A s, at 1 m along the central ray.

    `angle`, deg towards the anode, is that of another ray; its longer way is taken out.
    """
    import spekpy

    x = -DISTANCE * np.tan(np.deg2rad(angle))  # SpekPy's x points from the anode to the cathode
    tube: Any = spekpy.Spek(kvp=peak, th=ANODE_ANGLE, dk=1.0, x=x, z=DISTANCE)
    centres, fluence = tube.get_spectrum()
    weights = fluence * PER_M2_AS * (1.0 + (x / DISTANCE) ** 2)
    return np.histogram(centres, EDGES, weights=weights)[0]


def heel(peak: float) -> Array:
    """Return the fluence over that of the central ray, (angles, 149), by energy."""
    centre = tube_spectrum(peak)
    used = np.flatnonzero(centre > 1e-4 * centre.max())
    ratio = np.stack([tube_spectrum(peak, a)[used] / centre[used] for a in HEEL_ANGLES])
    # Energies that this voltage does not reach take the nearest one's, so that a voltage in
    # between can be interpolated.
    bins = np.arange(len(centre))
    return np.stack([np.interp(bins, used, row) for row in ratio])


def main() -> None:
    """Write the table."""
    import spekpy

    path = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent / "data/spectra.npz"
    with replacing(path) as part:
        np.savez_compressed(
            part,
            source=f"spekpy {spekpy.__version__}, numpy {np.__version__}; tungsten, "
            f"{ANODE_ANGLE:g} deg, unfiltered; fluence in photons per m2, A s and 1 keV at 1 m",
            energy=EDGES[:-1] + 0.5,
            peak=PEAKS,
            fluence=np.stack([tube_spectrum(float(p)) for p in PEAKS]).astype(np.float32),
            heel_peak=HEEL_PEAKS,
            heel_angle=HEEL_ANGLES,
            heel=np.stack([heel(float(p)) for p in HEEL_PEAKS]).astype(np.float16),
        )
    print(f"{path}: {path.stat().st_size / 1e3:.0f} kB")


if __name__ == "__main__":
    main()
