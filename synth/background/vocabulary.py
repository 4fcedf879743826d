"""The words that the shipped model knows, and captions made of them."""

from __future__ import annotations

import difflib
import re
from collections.abc import Collection, Iterable

import numpy as np

# A word's place is its token in trained models: append, never reorder.
_TEXT = (
    ", - . x ray fluoroscopy image radiograph of a the with without and in no on through view "
    "chest thorax lung lungs ribs rib spine heart abdomen mediastinum shoulder "
    "limb leg arm forearm thigh bone bones joint "
    "phantom tank water plastic block channel vessel vessels artery aorta vein branching "
    "dense osteoporotic normal contrast strong faint iodine "
    "instruments instrument guidewire wire catheter stent clip clips lead ruler beads screw "
    "needle metal "
    "frontal oblique lateral cranial caudal left right side "
    "thin large patient small wide field close up air soft tissue"
)
WORDS = tuple(_TEXT.split())
DENSE, OSTEOPOROTIC = "dense bone", "osteoporotic bone"
WITH_CONTRAST, WITH_INSTRUMENTS = "with contrast", "with instruments"
NEAREST = 3  # known words that are offered for an unknown one


def unknown_words(prompt: str, known: Collection[str] = WORDS) -> dict[str, list[str]]:
    """Return the words of a prompt that are not known, each with the nearest that are.

    Examples
    --------
    >>> unknown_words("chest with cathether")
    {'cathether': ['catheter']}
    """
    pool = sorted({w.lower() for w in known if w[:1].isalpha()})
    found = {}
    for word in words_of(prompt):
        if word not in pool and word not in found:
            found[word] = difflib.get_close_matches(word, pool, n=NEAREST, cutoff=0.6)
    return found


def words_of(prompt: str) -> list[str]:
    """Return the words of a prompt, lower case, as a tokenizer of whole words splits it."""
    return re.findall(r"[^\W_]+", prompt.lower())


def caption(rng: np.random.Generator, region: str, facts: Iterable[str]) -> str:
    """Return a caption: a region, then facts in any order.

    Examples
    --------
    >>> caption(np.random.default_rng(0), "chest", ["with contrast"])
    'chest, with contrast'
    """
    facts = list(facts)
    rng.shuffle(facts)
    start = str(rng.choice(["{}", "{}", "x-ray of {}", "fluoroscopy of {}"])).format(region)
    return ", ".join([start, *facts])
