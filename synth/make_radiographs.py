"""Make the bank of radiograph maps that ships with the package, from the full CT.

Run ``python -m mmdtwin.synth.make_radiographs [FILE]`` in a checkout; it writes
``synth/data/radiographs.npz`` by default. Only the part of the CT below the test slab is
seen, with fine structure (`mmdtwin.synth.xray.texture`).
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

from mmdtwin.errors import UserError
from mmdtwin.files import replacing
from mmdtwin.frame import Projection
from mmdtwin.sim.anatomy import Anatomy
from mmdtwin.synth.xray.background import BANK_PITCH, BANK_SID, BANK_SIZE, BANK_SOD, Pose, encode
from mmdtwin.synth.xray.drr import material_maps
from mmdtwin.synth.xray.volume import load_native, make_volume

QUANTUM = 25e-6  # m; 25 um of soft tissue changes the signal by 0.05 %, far below the noise
PRIMARY, SECONDARY = np.deg2rad(30.0), np.deg2rad(15.0)  # rad, largest gantry angles
# m, x of the isocentre in the CT: the spine is at x = 0.008.
REGIONS = {"right-lung": (-0.08, -0.05), "middle": (-0.02, 0.03), "left-lung": (0.06, 0.09)}
Y_RANGE = (-0.23, -0.155)  # m
THINNEST = 0.02  # m of soft tissue; less means that the field reaches beside the body
PER_REGION = 4
SEED = 20
TEXTURE_SEED = 0


def draw_poses(anatomy: Anatomy) -> list[tuple[Pose, np.ndarray]]:
    """Draw poses whose rays stay in the CT, and their maps (2, h, w)."""
    rng = np.random.default_rng(SEED)
    found = []
    for region, (low, high) in REGIONS.items():
        count = 0
        while count < PER_REGION:
            primary = float(rng.uniform(-PRIMARY, PRIMARY))
            secondary = float(rng.uniform(-SECONDARY, SECONDARY))
            where = (float(rng.uniform(low, high)), float(rng.uniform(*Y_RANGE)), 0.0)
            geometry = (BANK_SID, BANK_SOD, BANK_PITCH, (BANK_SIZE, BANK_SIZE), primary, secondary)
            projection = Projection.from_carm(*geometry)
            try:
                maps = material_maps(anatomy, projection, np.array(where))
            except UserError:
                continue  # the rays leave the usable part of the CT
            if maps["soft-tissue"].min() < THINNEST:
                continue
            found.append(
                (
                    Pose(primary, secondary, where, f"{region}-{count + 1}"),
                    np.stack([*maps.values()]),
                )
            )
            count += 1
    return found


def main() -> None:
    """Write the bank."""
    path = (
        Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent / "data/radiographs.npz"
    )
    poses, maps = zip(*draw_poses(make_volume(load_native("full"), TEXTURE_SEED)), strict=True)
    high, low = encode(np.rint(np.stack(maps) / QUANTUM).astype(np.uint16))
    with replacing(path) as part:
        np.savez_compressed(
            part,
            high=high,
            low=low,
            quantum=QUANTUM,
            angles=np.array([(p.primary, p.secondary) for p in poses]),
            isocentres=np.array([p.isocentre for p in poses]),
            names=np.array([p.name for p in poses]),
        )
    print(f"{path}: {path.stat().st_size / 1e6:.2f} MB, {len(poses)} poses")


if __name__ == "__main__":
    main()
