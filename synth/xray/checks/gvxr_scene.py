"""A scene as gVirtualXray sees it; runs as a process of its own, since OpenGL may end it.

``python -m mmdtwin.synth.xray.checks.gvxr_scene SCENE.npz IMAGE.npy`` reads what `write_scene`
wrote and writes the energy that reaches each pixel, over that of the free beam.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mmdtwin.frame import Projection
from mmdtwin.geometry import Array

MISSING = 3  # exit code where gVirtualXray or a library of the system's is not there
MM = 1e3  # per m; it reads mm
KEV = 1e3  # per MeV; its images are in MeV

# Vertices (n, 3) m, faces (m, 3), symbol of an element or a formula, density in g/cm3.
Piece = tuple[Array, NDArray, str, float]


def write_scene(
    path: Path, projection: Projection, energy: Array, photons: Array, pieces: Sequence[Piece]
) -> None:
    """Write a scene of pieces that lie apart, lit by `photons` of `energy` in keV."""
    meshes: dict[str, Any] = {}
    for i, (vertices, faces, _, _) in enumerate(pieces):
        meshes |= {f"vertices{i}": vertices, f"faces{i}": faces}
    np.savez(
        path,
        source=projection.source,
        axes=projection.axes,
        sid=projection.sid,
        pitch=projection.pitch,
        shape=projection.shape,
        energy=energy,
        photons=photons,
        formula=[piece[2] for piece in pieces],
        density=[piece[3] for piece in pieces],
        **meshes,
    )


def main(scene: str, image: str) -> int:
    """Compute and write the image; return the exit code."""
    try:
        gvxr = import_module("gvxrPython3").gvxr
        gvxr.createNewContext("EGL")
    except Exception as error:  # whatever it is: the system lacks something
        print(" ".join(str(error).split()) or type(error).__name__, file=sys.stderr)
        return MISSING
    data = np.load(scene)
    centre = data["source"] + data["axes"][2] * data["sid"]
    gvxr.setSourcePosition(*(MM * data["source"]).tolist(), "mm")
    gvxr.usePointSource()
    gvxr.setDetectorPosition(*(MM * centre).tolist(), "mm")
    gvxr.setDetectorRightVector(*data["axes"][0].tolist())
    gvxr.setDetectorUpVector(*(-data["axes"][1]).tolist())
    rows, columns = data["shape"].tolist()
    gvxr.setDetectorNumberOfPixels(columns, rows)
    gvxr.setDetectorPixelSize(*[MM * float(data["pitch"])] * 2, "mm")
    for energy, photons in zip(data["energy"].tolist(), data["photons"].tolist(), strict=True):
        gvxr.addEnergyBinToSpectrum(energy, "keV", photons)
    for i, formula in enumerate(data["formula"].tolist()):
        label = f"piece{i}"
        vertices = (MM * data[f"vertices{i}"]).ravel().tolist()
        gvxr.makeTriangularMesh(label, vertices, data[f"faces{i}"].ravel().tolist(), "mm")
        gvxr.setCompound(label, formula)
        gvxr.setDensity(label, float(data["density"][i]), "g/cm3")
        gvxr.addPolygonMeshAsInnerSurface(label)
    energies = np.array(gvxr.computeXRayImage(), np.float64)
    # Its first row is the lowest.
    np.save(image, energies[::-1] * KEV / float(data["energy"] @ data["photons"]))
    gvxr.terminate()
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
