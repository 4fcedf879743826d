"""What several images share: background, beam, detector, instruments."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mmdtwin.config.base import load
from mmdtwin.config.imager import CollimatorConfig, ImagerConfig, LagConfig
from mmdtwin.config.randomisation import RandomisationConfig
from mmdtwin.errors import UserError
from mmdtwin.frame import Projection
from mmdtwin.geometry import Array, transform
from mmdtwin.sim.scene import Scene
from mmdtwin.sim.shapes import Body
from mmdtwin.synth.compositor.distractors import Place, draw_distractor, draw_vessel
from mmdtwin.synth.compositor.draw import from_choice, from_range
from mmdtwin.synth.xray.background import Background, make_background
from mmdtwin.synth.xray.collimator import aperture
from mmdtwin.synth.xray.imager import Imager
from mmdtwin.synth.xray.path_lengths import covered_roi, path_lengths

HIDING_BONE, HIDING_CONTRAST = 5e-3, 0.2e-3  # m, from which bone and contrast medium hide
COVERED = 0.5  # share of a pixel from which a body hides what is there
OPEN = 0.5  # share of the beam that passes the collimator, from which a pixel counts as lit

MakeBackground = Callable[[ImagerConfig, np.random.Generator], Background]


@dataclass(frozen=True, eq=False)
class View:
    """An imager before a background, with what is there beside devices.

    Parameters
    ----------
    imager : Imager
    instruments : tuple of Body
        Instruments, markers and vessels, in the world.
    hiding : (h, w) bool array
        Where devices are hidden: by bone, contrast medium, instruments or lead.
    open : (h, w) bool array
        Where the collimator lets the beam pass.
    about : dict
        What was drawn, for the record.
    displacement : (3,) array
        Of the anatomy from rest, m.
    """

    imager: Imager
    instruments: tuple[Body, ...]
    hiding: NDArray[np.bool_]
    open: NDArray[np.bool_]
    about: dict[str, Any]
    displacement: Array = field(default_factory=lambda: np.zeros(3))

    def scene(self, time: float, device: tuple[Body, ...] = ()) -> Scene:
        """Return the scene with devices at a time, s."""
        return Scene(time, device, self.instruments, displacement=self.displacement)

    def moved(self, displacement: Array) -> View:
        """Return the view with its anatomy, and what lies in it, displaced from rest by (3,) m."""
        if not displacement.any():
            return replace(self, displacement=np.zeros(3))
        T = transform(translation=displacement)
        bodies = tuple(body.placed(T) for body in self.instruments)
        u, v = self.imager.projection.axes[:2] @ displacement / self.imager.projection.pixel_size
        hiding = np.roll(self.hiding, (round(float(v)), round(float(u))), axis=(0, 1)) | ~self.open
        return replace(self, instruments=bodies, hiding=hiding, displacement=displacement)


def draw_view(
    config: RandomisationConfig,
    rng: np.random.Generator,
    noise: np.random.Generator,
    background: MakeBackground = make_background,
) -> View:
    """Draw a view.

    Parameters
    ----------
    config : RandomisationConfig
    rng : Generator
        Decides everything but noise.
    noise : Generator
        Of the images.
    background : callable, optional
        Makes the background of an imager's configuration.
    """
    kind = from_choice(rng, config.background)
    imager_config = draw_imager(config, rng, kind)
    imager = Imager(imager_config, rng, noise, background=background(imager_config, rng))
    projection = imager.projection
    place = Place(rng, projection)
    bodies: list[Body] = []
    names = [
        from_choice(rng, config.instrument)
        for _ in range(int(from_choice(rng, config.instruments)))
    ]
    vessel = config.vessel_contrast
    if rng.random() < vessel.share:
        bodies.append(
            draw_vessel(place, from_range(rng, vessel.diameter), from_range(rng, vessel.iodine))
        )
    for name in names:
        bodies += draw_distractor(place, name)
    lit = aperture(imager_config, projection) > OPEN
    maps = imager.background.maps
    hiding = ~lit
    for name, least in (("bone", HIDING_BONE), ("iodine-contrast", HIDING_CONTRAST)):
        if name in maps:
            hiding |= maps[name] >= least
    for body in bodies:
        _cover(hiding, body, projection)
    about: dict[str, Any] = {
        "background": kind,
        "background_name": imager.background.pose.name,
        "spectrum": imager_config.spectrum,
        "dose": imager_config.exposure.detector_dose,
        "pixel_size": projection.pixel_size,
        "curve": imager_config.display.curve,
        "instruments": names,
        "vessel_contrast": len(bodies) > 0 and bodies[0].material.startswith("iodine:"),
        "collimated": imager_config.collimator is not None,
    }
    return View(imager, tuple(bodies), hiding, lit, about)


def draw_imager(
    config: RandomisationConfig, rng: np.random.Generator, background: str
) -> ImagerConfig:
    """Draw an imager's configuration before a kind of background."""
    base = load(ImagerConfig, "imagers", config.imager)
    pitch = from_range(rng, config.pitch)
    behind: dict[str, Any] = {"kind": background, "thickness": from_range(rng, config.thickness)}
    if background == "diffusion":
        behind["path"] = config.bank
    elif background == "file":
        assert config.files is not None  # RandomisationConfig asks for it
        behind |= config.files.model_dump(include={"thinnest", "defaults"})
        behind["path"] = _draw_file(config.files.folder, rng)
    detector: dict[str, Any] = {
        "rows": config.size,
        "columns": config.size,
        "pitch": pitch,
        "blur": from_range(rng, config.blur),
        "electronic_noise": from_range(rng, config.electronic_noise),
        "gain_error": from_range(rng, config.gain_error),
        "dead_pixels": from_range(rng, config.dead_pixels),
    }
    late = LagConfig(share=from_range(rng, config.lag.share), time=from_range(rng, config.lag.time))
    detector["lag"] = (late,) if late.share > 0.0 else ()
    display = {
        "curve": from_choice(rng, config.curve),
        "gamma": from_range(rng, config.gamma),
        "edge_enhancement": from_range(rng, config.edge_enhancement),
    }
    collimator = None
    if rng.random() < config.collimator.share:
        opening = from_range(rng, config.collimator.opening) * config.size * pitch
        room = (config.size * pitch - opening) / 2
        centre = rng.uniform(-room, room, 2)
        collimator = CollimatorConfig(
            opening=(opening, opening), centre=(float(centre[0]), float(centre[1]))
        )
    return base.model_copy(
        update={
            "spectrum": from_choice(rng, config.spectrum),
            "focal_spot": from_range(rng, config.focal_spot),
            "exposure": base.exposure.model_copy(
                update={"detector_dose": from_range(rng, config.dose), "charge": None}
            ),
            "background": base.background.model_copy(update=behind),
            "detector": base.detector.model_copy(update=detector),
            "display": base.display.model_copy(update=display),
            "collimator": collimator,
        }
    )


def _draw_file(folder: str, rng: np.random.Generator) -> str:
    """Return the path of one of the files in a folder."""
    files = sorted(p for p in Path(folder).glob("*") if p.is_file() and p.name[0] != ".")
    if not files:
        raise UserError(
            f"randomisation.files.folder {folder}: no files there; name a folder of DICOM"
        )
    return str(files[int(rng.integers(len(files)))])


def _cover(hiding: NDArray[np.bool_], body: Body, projection: Projection) -> None:
    roi = covered_roi(body, projection)
    if roi is not None:
        _, share = path_lengths(body, projection, roi, 1)
        hiding[roi[0] : roi[1], roi[2] : roi[3]] |= share > COVERED
