"""Places for what a prompt names and its mask lacks: drawn by the seed, and added to the mask.

A model that is only told that there is contrast medium must invent where; a dataset must then find
out. Drawn places are known, and kept with what is drawn from them.
"""

from __future__ import annotations

from mmdtwin.seeding import stream
from mmdtwin.synth.background.classes import CHANNEL, METAL, MaskStack
from mmdtwin.synth.background.instruments import INSTRUMENTS, draw_instruments, draw_vessels
from mmdtwin.synth.background.vocabulary import words_of

DENIED = ("without", "no")  # before a word, or the one before it: "without any contrast"
ANY = ("instrument", "instruments", "metal")
NAMED = {
    **{name: name for name in INSTRUMENTS},
    "wire": "guidewire",
    "clip": "clips",
    "beads": "ruler",
}
CONTRAST = ("contrast", "iodine")


def completed(mask: MaskStack, prompt: str, seed: int, field: float) -> MaskStack:
    """Return a mask with contrast medium and instruments that its prompt names.

    Parameters
    ----------
    mask : (5, h, w) bool array
        A layer that it has stays as it is.
    prompt : str
    seed : int
        Decides where.
    field : float
        Side of what the mask shows, m.
    """
    words = words_of(prompt)
    said = {word for i, word in enumerate(words) if not set(words[max(i - 2, 0) : i]) & set(DENIED)}
    found, side = mask.copy(), mask.shape[-1]
    rng = stream(seed, "background-placing")
    if said & set(CONTRAST) and not mask[CHANNEL].any():
        _, channel = draw_vessels(rng, side, field / side)
        found[CHANNEL] = channel & mask.any(axis=0)  # not in the air around the body
    names = sorted({NAMED[word] for word in said if word in NAMED})
    if (names or said & set(ANY)) and not mask[METAL].any():
        _, found[METAL], _ = draw_instruments(rng, side, field / side, names)
    return found
