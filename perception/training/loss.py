"""What a network's outputs are held to."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mmdtwin.perception.learned.finds import HARDEST, SOFTEST
from mmdtwin.perception.learned.network import STRIDE, slices

if TYPE_CHECKING:
    import torch

FOCUS, FALL_OFF = 2.0, 4.0  # powers of Zhou et al. 2019 (arXiv 1904.07850), equation 1
OFFSET, SPREAD, AXIS, STRENGTH, KIND, MASK, OVERLAP = 1.0, 0.1, 0.5, 0.3, 0.2, 1.0, 0.5  # weights


def detection_loss(
    found: tuple[torch.Tensor, torch.Tensor],
    wanted: torch.Tensor,
    counts: torch.Tensor,
    asked: torch.Tensor,
    mask: torch.Tensor,
    mask_counts: torch.Tensor,
) -> torch.Tensor:
    """Return the loss of a batch of patches; arguments are of `Patch`, stacked.

    Centres by the focal loss of heat maps, masks by cross-entropy and overlap, the rest where
    devices are: absolute errors, and for how sure a place is the likelihood of its error under a
    Laplacian.
    """
    import torch
    from torch.nn import functional

    grid, outline = found[0].float(), found[1].float()[:, 0]
    where = slices()
    peaks = wanted[:, 0]
    logits = grid[:, 0]
    centre = (peaks >= 1.0).float() * asked
    chance = torch.sigmoid(logits)
    missed = -functional.logsigmoid(logits) * (1.0 - chance) ** FOCUS * centre
    alarm = -functional.logsigmoid(-logits) * chance**FOCUS * (1.0 - peaks) ** FALL_OFF
    alarm = alarm * counts * (peaks < 1.0)
    devices = centre.sum().clamp(min=1.0)
    loss = (missed.sum() + alarm.sum()) / devices
    weight = asked[:, None]
    total = asked.sum().clamp(min=1.0)
    off = (grid[:, where["offset"]] - wanted[:, where["offset"]]) * STRIDE  # px
    loss = loss + OFFSET * (off.abs() * weight).sum() / total / STRIDE
    log_spread = grid[:, where["spread"]].clamp(SOFTEST, HARDEST)
    unlikely = off.detach().abs().sum(1, keepdim=True) * torch.exp(-log_spread) + 2 * log_spread
    loss = loss + SPREAD * (unlikely * weight).sum() / total
    for name, share in (("axis", AXIS), ("strength", STRENGTH)):
        error = grid[:, where[name]] - wanted[:, where[name]]
        loss = loss + share * (error.abs() * weight).sum() / total
    kinds = wanted[:, where["kind"]]
    unsure = -(functional.log_softmax(grid[:, where["kind"]], 1) * kinds).sum(1)
    loss = loss + KIND * (unsure * asked).sum() / total
    each = functional.binary_cross_entropy_with_logits(outline, mask, reduction="none")
    shown = torch.sigmoid(outline) * mask_counts
    real = mask * mask_counts
    covered = real.sum().clamp(min=1.0)
    overlap = (2.0 * (shown * real).sum() + 1.0) / (shown.sum() + real.sum() + 1.0)
    loss = loss + MASK * (each * mask_counts).sum() / covered
    return loss + OVERLAP * (1.0 - overlap)
