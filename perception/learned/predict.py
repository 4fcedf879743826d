"""Finds as COCO results, which any tool scores."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from pycocotools import mask as coco_mask

from mmdtwin.perception.learned.finds import Find
from mmdtwin.perception.learned.network import KINDS


def coco_result(
    find: Find,
    image_id: int | str,
    shape: tuple[int, int],
    categories: Mapping[str, int] | None = None,
) -> dict[str, Any]:
    """Return a find as a COCO result.

    Parameters
    ----------
    find : Find
    image_id : int or str
        Of the truth file, or the file's name.
    shape : (int, int)
        Of the image.
    categories : mapping of str to int, optional
        Numbers of kinds; by default their places in `network.KINDS`, from 1.

    Returns
    -------
    dict
        `bbox`, `centroid` and `segmentation` (run lengths) are COCO's: the first pixel reaches from
        0 to 1.
    """
    r0, r1, c0, c1 = find.box
    whole = np.zeros(shape, np.uint8, order="F")
    part = find.mask[max(-r0, 0) : shape[0] - r0, max(-c0, 0) : shape[1] - c0]
    top, left = max(r0, 0), max(c0, 0)
    whole[top : top + part.shape[0], left : left + part.shape[1]] = part
    runs = coco_mask.encode(whole)
    u, v = find.centre.tolist()
    box: list[float] = [c0, r0, c1 - c0, r1 - r0]
    if not part.any():  # what stands out of nothing gets a box as long as its axis
        half = max(find.length / 2, 1.0)
        box = [u + 0.5 - half, v + 0.5 - half, 2 * half, 2 * half]
    numbers = categories or {}
    return {
        "image_id": image_id,
        "category_id": numbers.get(find.kind, KINDS.index(find.kind) + 1),
        "bbox": [round(float(x), 2) for x in box],
        "score": round(find.score, 6),
        "segmentation": {"size": list(shape), "counts": runs["counts"].decode()},
        "centroid": [round(u + 0.5, 3), round(v + 0.5, 3)],
        "d_prime": round(find.d_prime, 3),
    }
