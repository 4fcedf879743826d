"""What goes beside a dataset for people and for catalogues: a card, and Croissant metadata."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from importlib import metadata
from itertools import chain, pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mmdtwin.config.randomisation import CellsConfig, RandomisationConfig
from mmdtwin.files import replacing, write_json
from mmdtwin.synth.background.bank import SHIPPED
from mmdtwin.synth.compositor.draw import cell_of
from mmdtwin.synth.dataset.coco import Splits

CARD, CROISSANT = "DATASET_CARD.md", "croissant.json"
IMAGE_FORMS = {"png": ("image/png", ".png"), "dicom": ("application/dicom", ".dcm")}
LICENCE = (
    "Radiograph, CT and generated backgrounds derive from one chest CT, LIDC-IDRI-0001 (Armato "
    "III, S. G., et al. (2015), Data From LIDC-IDRI, The Cancer Imaging Archive, "
    "<https://doi.org/10.7937/K9/TCIA.2015.LO9QL9SX>), under CC BY 3.0 "
    "(<https://creativecommons.org/licenses/by/3.0/>); the images are under the same licence."
)


def distribution(cells: CellsConfig, records: Sequence[dict[str, Any]]) -> NDArray[np.int_]:
    """Return the number of devices in each cell: contrast, size, share hidden."""
    edges = cells.contrast, cells.size, cells.occluded
    found = np.zeros([len(e) - 1 for e in edges], int)
    for record in records:
        for each in record["instances"]:
            values = each["contrast_object"], each["size"], each["occluded"]
            found[tuple(cell_of(e, v) for e, v in zip(edges, values, strict=True))] += 1
    return found


def write_card(
    folder: Path, config: RandomisationConfig, seed: int, splits: Splits, form: str
) -> None:
    """Write the card and the metadata of a dataset whose images have a form, "png" or "dicom"."""
    with replacing(folder / CARD) as part:
        part.write_text(_card(config, seed, splits))
    write_json(folder / CROISSANT, croissant(folder, splits, form))


def _card(config: RandomisationConfig, seed: int, splits: Splits) -> str:
    records = list(chain(*splits.values()))
    instances = [each for record in records for each in record["instances"]]
    coco_files = ", ".join(f"`coco-{name}.json`" for name in splits)
    views = len({record["about"]["view"] for record in records})
    parts = ", ".join(f"{name} {len(part)}" for name, part in splits.items())
    cells = distribution(config.cells, records)
    lines = [
        "# Devices under X-ray",
        "",
        f"{len(records)} images of {config.size} x {config.size} px ({parts}), "
        f"{len(instances)} devices, {views} views; seed {seed}; mmdtwin "
        f"{metadata.version('mmdtwin')}. Made by `mmdtwin synth dataset`: devices are fused into "
        "backgrounds in the attenuation domain, noise comes last.",
        "",
        "| file | what |",
        "|---|---|",
        "| `images/*.png` | 16 bits; grey levels of the detector, shifted up to fill them |",
        "| `masks/*.png` | number of the device at each pixel, from 1; 0 where there is none |",
        "| `flow/*.png` | of sequences, px to the next frame, as KITTI has it |",
        f"| {coco_files} | COCO: run lengths, boxes, keypoints and facts |",
        "| `data.yaml`, `labels/*.txt` | YOLO, segments |",
        "| `shards/*.json` | everything that is known, with checksums |",
        "| `dataset.json` | configuration |",
        "",
        "Contrast is Michelson's of the noise-free signal with scatter, before blur, where the "
        "device is thickest; `contrast_blurred` after the blur; `cnr` and `d_prime` (of the best "
        "linear observer, the background known) go with it.",
        "",
        "## Devices by contrast, size and share hidden",
        "",
        *_table(config.cells, cells),
        "",
        "## Limits",
        "",
        "- One patient: what is learnt here says nothing about how anatomy varies. The part of "
        f"the CT above z = 250 mm (shoulders, neck) is {_slab(config)}.",
        "- Images of one view share background, beam and instruments; splits keep views apart.",
        "- A label tells where a device is, also where noise hides it: `d_prime` says how visible "
        "it is.",
        "",
        "## Licence",
        "",
        LICENCE,
        "",
    ]
    return "\n".join(lines)


def _slab(config: RandomisationConfig) -> str:
    """Return where the slab is that nothing is trained on."""
    if config.bank == SHIPPED[1]:
        return "behind all that are of the CT: train on none of this"
    return "in none of the backgrounds"


def _table(cells: CellsConfig, counts: NDArray[np.int_]) -> list[str]:
    sizes = [f"{1e3 * a:g}-{1e3 * b:g} mm" for a, b in pairwise(cells.size)]
    rows = [f"| contrast | hidden | {' | '.join(sizes)} |", "|---" * (2 + len(sizes)) + "|"]
    for i in range(counts.shape[0]):
        for k in range(counts.shape[2]):
            low, high = cells.contrast[i : i + 2]
            least, most = cells.occluded[k : k + 2]
            numbers = " | ".join(str(n) for n in counts[i, :, k])
            rows.append(f"| {low:g}-{high:g} | {least:.0%}-{most:.0%} | {numbers} |")
    return rows


def croissant(folder: Path, splits: Splits, form: str = "png") -> dict[str, Any]:
    """Return Croissant 1.0 metadata (mlcommons.org/croissant) of a dataset in a folder."""
    count = sum(map(len, splits.values()))
    forms = {"images": IMAGE_FORMS[form], "masks": IMAGE_FORMS["png"]}
    files = [
        {
            "@type": "cr:FileObject",
            "@id": f"coco-{split}.json",
            "name": f"coco-{split}.json",
            "contentUrl": f"coco-{split}.json",
            "encodingFormat": "application/json",
            "sha256": hashlib.sha256((folder / f"coco-{split}.json").read_bytes()).hexdigest(),
        }
        for split in splits
    ]
    sets = [
        {
            "@type": "cr:FileSet",
            "@id": kind,
            "name": kind,
            "encodingFormat": mime,
            "includes": f"{kind}/*{suffix}",
        }
        for kind, (mime, suffix) in forms.items()
    ]
    return {
        "@context": {
            "@vocab": "https://schema.org/",
            "sc": "https://schema.org/",
            "cr": "http://mlcommons.org/croissant/",
            "dct": "http://purl.org/dc/terms/",
            "conformsTo": "dct:conformsTo",
            "recordSet": "cr:recordSet",
            "field": "cr:field",
            "source": "cr:source",
            "fileSet": "cr:fileSet",
            "extract": "cr:extract",
            "fileProperty": "cr:fileProperty",
            "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
            "includes": "cr:includes",
        },
        "@type": "sc:Dataset",
        "conformsTo": "http://mlcommons.org/croissant/1.0",
        "name": folder.resolve().name,
        "description": f"{count} labelled X-ray images of miniature devices, synthetic",
        "license": "https://creativecommons.org/licenses/by/3.0/",
        "distribution": [*files, *sets],
        "recordSet": [
            {
                "@type": "cr:RecordSet",
                "@id": "image",
                "name": "image",
                "field": [
                    {
                        "@type": "cr:Field",
                        "@id": f"image/{kind}",
                        "name": kind,
                        "dataType": "sc:ImageObject",
                        "source": {
                            "fileSet": {"@id": kind},
                            "extract": {"fileProperty": "content"},
                        },
                    }
                    for kind in forms
                ],
            }
        ],
    }
