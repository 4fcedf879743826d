"""Pictures of what a model draws while it is trained."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

from mmdtwin.synth.background.sampling import draw
from mmdtwin.synth.background.training.pair_set import depths

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from mmdtwin.synth.background.sampling import draw
from mmdtwin.synth.background.training.pair_set import PairSet

COUNT, STEPS = 8, 20
DETAIL = 9  # px


def sample(pipeline: Any, held_out: PairSet) -> tuple[dict[str, float], NDArray[np.float32]]:
    """Draw from the first held-out masks and captions.

    Returns
    -------
    dict
        `texture_ratio`: rms of -log T finer than 9 px over that of what the masks came from;
        `depth_error`: rms difference of -log T from it.
    (3 side, n side, 3) float32 array
        Rows: masks, -log T of what they came from, -log T of what was drawn; 0..1.
    """
    chosen = np.arange(min(COUNT, len(held_out)))
    pictures = held_out.pictures(chosen)
    captions = [held_out.captions[i] for i in chosen]
    drawn = draw(pipeline, pictures, captions, chosen.tolist(), STEPS)
    rows = [np.concatenate(list(pictures / 2 + 0.5), axis=-1).transpose(1, 2, 0)]
    truth = depths(held_out.images(chosen)).sum(1)
    found = depths(drawn).sum(1)
    fine, fine_found = (float(np.median(_detail(depth))) for depth in (truth, found))
    figures = {
        "texture_ratio": fine_found / max(fine, 1e-9),
        "depth_error": float(np.sqrt(np.mean((found - truth) ** 2))),
    }
    low, high = np.percentile(truth, (0.5, 99.5))
    for depth in (truth, found):
        grey = np.clip((np.concatenate(list(depth), axis=-1) - low) / (high - low + 1e-9), 0, 1)
        rows.append(np.repeat(grey[..., None], 3, axis=-1))
    return figures, np.concatenate(rows).astype(np.float32)


def _detail(depth: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return the rms (n,) of what is finer than 9 px in images (n, h, w)."""
    smooth = np.stack([cv2.blur(image, (DETAIL, DETAIL)) for image in depth])
    return np.asarray(np.sqrt(np.mean((depth - smooth) ** 2, axis=(1, 2))), float)
