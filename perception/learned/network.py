"""The network: fully convolutional, of a few kinds of layers, small enough for a CPU."""

from __future__ import annotations

from typing import Any

from mmdtwin.errors import UserError
from mmdtwin.perception.learned.seen import CHANNELS

WIDTHS = (16, 32, 64, 96)  # channels where images are 2, 4, 8 and 16 times as coarse
DEPTHS = (1, 2, 3)  # blocks at the three coarser ones
STRIDE, MASK_STRIDE = 4, 2  # px between places of the grid, and of masks
KINDS = ("sheet", "rod", "droplet", "helix", "stent", "bead")
# Of each place of the grid: whether a device's centre is there; where in it, cells; the logarithm
# of the standard deviation of that, px; the device's axis, length/16 px times cosine and sine of
# twice its angle; log(1 + d'); and what kind of device.
OUTPUTS = {"centre": 1, "offset": 2, "spread": 1, "axis": 2, "strength": 1, "kind": len(KINDS)}
AXIS_SCALE = 16.0  # px
RARE = -4.0  # what centres begin at, so that a first step is not spent on unlearning


def require_torch() -> None:
    """Raise a `UserError` that names the extra if torch is missing."""
    from importlib.util import find_spec

    if find_spec("torch") is None:
        raise UserError(
            "training and models in safetensors need torch: pip install 'mmdtwin[train]'"
        )


def build_network(channels: int = CHANNELS) -> Any:
    """Return an untrained network.

    It maps (n, channels, h, w), sides multiples of 16, to a grid (n, sum of `OUTPUTS`, h/4, w/4)
    and the logits of masks (n, 1, h/2, w/2).
    """
    require_torch()
    import torch
    from torch import nn

    def layer(given: int, made: int, side: int, stride: int = 1) -> Any:
        return nn.Sequential(
            nn.Conv2d(given, made, side, stride, side // 2, bias=False),
            nn.BatchNorm2d(made),
            nn.ReLU(inplace=True),
        )

    class Block(nn.Module):
        """Looks around channel by channel, then mixes them; added to what it was given."""

        def __init__(self, width: int) -> None:
            super().__init__()
            self.around = nn.Conv2d(width, width, 5, 1, 2, groups=width, bias=False)
            self.norm = nn.BatchNorm2d(width)
            self.widen = layer(width, 2 * width, 1)
            self.mix = nn.Conv2d(2 * width, width, 1, bias=False)
            self.last = nn.BatchNorm2d(width)

        def forward(self, x: Any) -> Any:
            found = self.widen(self.norm(self.around(x)))
            return x + self.last(self.mix(found))

    class Detector(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first = layer(channels, WIDTHS[0], 5, 2)
            self.down = nn.ModuleList(
                nn.Sequential(
                    layer(WIDTHS[i], WIDTHS[i + 1], 3, 2),
                    *(Block(WIDTHS[i + 1]) for _ in range(DEPTHS[i])),
                )
                for i in range(3)
            )
            self.up = nn.ModuleList(nn.Conv2d(WIDTHS[i + 1], WIDTHS[i], 1) for i in range(3))
            self.middle, self.fine = Block(WIDTHS[2]), Block(WIDTHS[1])
            self.head = layer(WIDTHS[1], 48, 3)
            self.grid = nn.Conv2d(48, sum(OUTPUTS.values()), 1)
            self.outline = layer(WIDTHS[0], WIDTHS[0], 3)
            self.mask = nn.Conv2d(WIDTHS[0], 1, 1)
            for last in (self.grid, self.mask):
                torch.nn.init.constant_(last.bias[:1], RARE)  # type: ignore[index]

        def forward(self, image: Any) -> tuple[Any, Any]:
            halves = self.first(image)
            quarters = self.down[0](halves)
            eighths = self.down[1](quarters)
            coarse = self.down[2](eighths)
            eighths = self.middle(eighths + doubled(self.up[2](coarse)))
            quarters = self.fine(quarters + doubled(self.up[1](eighths)))
            halves = self.outline(halves + doubled(self.up[0](quarters)))
            return self.grid(self.head(quarters)), self.mask(halves)

    def doubled(x: Any) -> Any:
        return nn.functional.interpolate(x, scale_factor=2.0, mode="nearest")

    return Detector()


def slices() -> dict[str, slice]:
    """Return where in the grid's channels each output is."""
    found, start = {}, 0
    for name, count in OUTPUTS.items():
        found[name] = slice(start, start + count)
        start += count
    return found
