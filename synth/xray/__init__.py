"""X-ray physics: materials, spectra, backgrounds and the fluoroscope."""

from mmdtwin.synth.xray.background import Background, Pose
from mmdtwin.synth.xray.detectability import Detectability, detectability
from mmdtwin.synth.xray.imager import Imager
from mmdtwin.synth.xray.materials import attenuation, known_materials
from mmdtwin.synth.xray.spectrum import Spectrum, load_spectrum, spectrum_names

__all__ = [
    "Background",
    "Detectability",
    "Imager",
    "Pose",
    "Spectrum",
    "attenuation",
    "detectability",
    "known_materials",
    "load_spectrum",
    "spectrum_names",
]
