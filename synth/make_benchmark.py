"""Make what ships of the benchmark, from the full CT.

Run ``python -m mmdtwin.synth.make_benchmark bank`` in a checkout; it writes backgrounds to
``synth/data/benchmark-bank``: projections of the slab of the CT that nothing is trained on, and
drawn limbs and tanks of seeds of their own. Then ``mmdtwin synth benchmark --out DIR`` makes the
images, and ``python -m mmdtwin.synth.make_benchmark reference DIR`` writes their labels and means
to ``synth/data/mmd-xray-v1``.
"""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mmdtwin.files import digest, replacing, write_json
from mmdtwin.seeding import stream
from mmdtwin.synth.background.bank import FORMAT, INDEX, SHARD, SHIPPED, shipped_bank
from mmdtwin.synth.background.classes import pack
from mmdtwin.synth.background.evaluate.sets import slab_view
from mmdtwin.synth.background.maps import encode
from mmdtwin.synth.background.pairs import Pair, cut_pair, draw_facts, draw_view
from mmdtwin.synth.dataset.benchmark import BENCHMARKS, write_reference

COUNTS = {"slab": 32, "limb": 8, "tank": 8}
NARROWEST = 0.092  # m that a background shows at the isocentre at least
SEED = 2026


def backgrounds() -> Iterator[Pair]:
    """Yield each background."""
    for source, count in COUNTS.items():
        rng = stream(SEED, f"benchmark-{source}")
        found = 0
        while found < count:
            view = slab_view(rng) if source == "slab" else draw_view(rng, source)
            facts = replace(draw_facts(rng), hide_contrast=False, hide_instruments=False)
            pair = cut_pair(rng, view, facts=facts)
            if pair is not None and pair.pixel_size * pair.mask.shape[-1] >= NARROWEST:
                found += 1
                yield pair


def write_bank(folder: Path) -> None:
    """Write the bank anew."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    write_json(folder / INDEX, {"format": FORMAT})
    pairs = list(backgrounds())
    for start in range(0, len(pairs), SHARD):
        arrays: dict[str, NDArray] = {}
        records = []
        for i, pair in enumerate(pairs[start : start + SHARD]):
            arrays[f"maps{i:03d}"] = encode(pair.maps).astype(np.float16)
            arrays[f"bits{i:03d}"] = pack(pair.mask)
            records.append(
                {
                    "key": digest([SEED, start + i]),
                    "prompt": pair.caption,
                    "seed": start + i,
                    "pixel_size": pair.pixel_size,
                    "source": pair.source,
                    "model": "none: projections",
                }
            )
        with replacing(folder / f"shard-{start // SHARD:06d}.npz") as part:
            np.savez_compressed(
                part, allow_pickle=False, records=np.array(json.dumps(records)), **arrays
            )


def main() -> None:
    """Write the bank, or the reference from a folder of images."""
    if sys.argv[1:] == ["bank"]:
        write_bank(shipped_bank(SHIPPED[1]))
    elif sys.argv[1:2] == ["reference"] and len(sys.argv) == 3:
        write_reference(BENCHMARKS[0], Path(sys.argv[2]))
    else:
        sys.exit(__doc__)


if __name__ == "__main__":
    main()
