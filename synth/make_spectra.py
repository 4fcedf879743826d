"""Make the table of X-ray spectra that ships with the package.

Run ``python -m mmdtwin.synth.make_spectra [FILE]`` in a checkout, with the extra ``spectra``
installed (spekpy); it writes ``synth/data/spectra.csv`` by default. Tungsten, 12 deg anode angle.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

from mmdtwin.files import replacing

ANODE_ANGLE = 12.0  # deg
HIGHEST = 120  # keV
# Name: peak voltage kV, filters in mm.
SPECTRA = {
    "60kVp-3Al": (60, [("Al", 3.0)]),
    "70kVp-2.5Al-0.1Cu": (70, [("Al", 2.5), ("Cu", 0.1)]),
    "80kVp-2.5Al": (80, [("Al", 2.5)]),
    "80kVp-2.5Al-0.2Cu": (80, [("Al", 2.5), ("Cu", 0.2)]),
    "100kVp-2.5Al": (100, [("Al", 2.5)]),
    "120kVp-2.5Al": (120, [("Al", 2.5)]),
}


def main() -> None:
    """Write the table: photon energy in keV, then the share of photons per 1 keV bin."""
    import spekpy

    path = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent / "data/spectra.csv"
    energy = np.arange(HIGHEST) + 0.5
    columns = []
    for kvp, filters in SPECTRA.values():
        spectrum = spekpy.Spek(kvp=kvp, th=ANODE_ANGLE, dk=1.0)
        spectrum.multi_filter(filters)
        centres, fluence = spectrum.get_spectrum()
        values = np.zeros(HIGHEST)
        values[np.floor(centres).astype(int)] = fluence
        values[values < 1e-7 * values.sum()] = 0.0
        columns.append(values / values.sum())
    with replacing(path) as part:
        header = f"made with spekpy {spekpy.__version__}, tungsten, {ANODE_ANGLE:g} deg\nkeV,"
        np.savetxt(
            part,
            np.column_stack([energy, *columns]),
            fmt=["%.1f"] + ["%.5e"] * len(columns),
            delimiter=",",
            header=header + ",".join(SPECTRA),
        )


if __name__ == "__main__":
    main()
