"""A detector's folder: weights as ONNX and safetensors, what was measured of them, and a card."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from functools import cached_property
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mmdtwin.errors import UserError
from mmdtwin.files import replacing_dir
from mmdtwin.perception.learned.network import build_network
from mmdtwin.perception.learned.seen import CHANNELS

ONNX, WEIGHTS, RECORD, CARD = "detector.onnx", "detector.safetensors", "detector.json", "CARD.md"
INPUT, GRID, MASK = "image", "grid", "mask"
OPSET = 17


@dataclass(frozen=True)
class Record:
    """What is known of a model.

    Parameters
    ----------
    threshold : float
        Score from which a find is taken for a device, 0..1.
    command, data, machine, versions : str
        How, on what, where and with what it was trained.
    seed, steps, batch : int
    seconds : float
        Of training, all stretches together.
    figures : dict of str to float
        Of held-out images.
    """

    threshold: float
    command: str = ""
    data: str = ""
    machine: str = ""
    versions: str = ""
    seed: int = 0
    steps: int = 0
    batch: int = 0
    seconds: float = 0.0
    figures: dict[str, float] = field(default_factory=dict)


def shipped_model() -> Path:
    """Return the folder of the model that ships."""
    return Path(str(resources.files("mmdtwin.perception") / "data" / "detector"))


def read_record(folder: Path) -> Record:
    """Return what is known of a model.

    Raises
    ------
    UserError
        If it is not there, or broken.
    """
    path = folder / RECORD
    try:
        return Record(**json.loads(path.read_text()))
    except (OSError, ValueError, TypeError) as error:
        raise UserError(f"detector {folder}: {RECORD} is missing or broken ({error})") from error


class Model:
    """A detector's network, run by onnxruntime, or by torch where that is missing.

    Parameters
    ----------
    folder : Path
    threads : int
        Of the CPU.

    Raises
    ------
    UserError
        If a file is missing or broken, or neither library is installed.
    """

    def __init__(self, folder: Path, threads: int = 2) -> None:
        self.folder, self.threads = folder, threads
        self.record = read_record(folder)
        self._run = self._open()

    @cached_property
    def backend(self) -> str:
        """Return "onnxruntime" or "torch"."""
        from importlib.util import find_spec

        for name in ("onnxruntime", "torch"):
            if find_spec(name) is not None:
                return name
        raise UserError("the learned detector needs onnxruntime: pip install onnxruntime")

    def __call__(self, image: NDArray[np.float32]) -> tuple[NDArray, NDArray]:
        """Return the grid (c, h/4, w/4) and mask (h/2, w/2) of what is seen (c, h, w)."""
        grid, mask = self._run(image[None])
        return grid[0], mask[0, 0]

    def _open(self) -> Any:
        if self.backend == "torch":
            return self._torch()
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = self.threads
        options.log_severity_level = 3
        path = self.folder / ONNX
        try:
            session = onnxruntime.InferenceSession(
                path.read_bytes(), options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:  # onnxruntime's have no base of their own
            first = str(error).splitlines()[0]
            raise UserError(f"detector {path}: is missing or broken ({first})") from error
        names = [each.name for each in session.get_outputs()]
        if [each.name for each in session.get_inputs()] != [INPUT] or names != [GRID, MASK]:
            raise UserError(
                f"detector {path}: has heads {', '.join(names)}; expected {GRID}, {MASK}"
            )
        return lambda image: session.run(None, {INPUT: image})

    def _torch(self) -> Any:
        import torch

        network = build_network().eval()
        load_weights(network, self.folder)

        def run(image: NDArray[np.float32]) -> list[NDArray]:
            with torch.inference_mode():
                return [found.numpy() for found in network(torch.from_numpy(image))]

        return run


def load_weights(network: Any, folder: Path) -> None:
    """Give a network the weights of a model's folder.

    Raises
    ------
    UserError
        If they are missing, broken or of another network.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    path = folder / WEIGHTS
    try:
        network.load_state_dict(load_file(path))
    except (OSError, SafetensorError, RuntimeError) as error:
        first = str(error).splitlines()[0]
        raise UserError(f"detector {path}: is missing or broken ({first})") from error


def save_model(network: Any, out: Path, record: Record) -> None:
    """Write a model's folder; whole or not at all.

    Raises
    ------
    UserError
        If onnx is not installed.
    """
    from importlib.util import find_spec

    if find_spec("onnx") is None:
        raise UserError("writing a detector needs onnx: pip install 'mmdtwin[train]'")
    from safetensors.torch import save_file

    network = network.eval()
    with replacing_dir(out) as part:
        state = {name: value.contiguous() for name, value in network.state_dict().items()}
        save_file(state, part / WEIGHTS)
        _export(network, part / ONNX)
        (part / RECORD).write_text(json.dumps(asdict(record), indent=2) + "\n")
        (part / CARD).write_text(card(record))


def _export(network: Any, path: Path) -> None:
    import warnings

    import torch

    example = torch.zeros(1, CHANNELS, 64, 64)
    sides = {0: "n", 2: "rows", 3: "columns"}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the exporter's age: the newer one needs onnxscript
        torch.onnx.export(
            network, (example,), str(path), dynamo=False, opset_version=OPSET,
            input_names=[INPUT], output_names=[GRID, MASK],
            dynamic_axes={INPUT: sides, GRID: sides, MASK: sides},
        )  # fmt: skip


MEANING = {
    "recall_4.5": "recall within 2 px, d' of 4.5 to 7",
    "recall_7": "recall within 2 px, d' of 7 to 10",
    "recall_10": "recall within 2 px, d' of 10 and more",
    "recall": "recall within 2 px, d' of 4.5 to 30",
    "centre_px": "rms error of centres, px, d' of 10 and more",
}


def card(record: Record) -> str:
    """Return the model's card, Markdown."""
    rows = [f"| {text} | {record.figures[name]:.3f} |"
            for name, text in MEANING.items() if name in record.figures]  # fmt: skip
    return "\n".join(
        [
            "# Detector of devices under X-ray",
            "",
            "A fully convolutional network that finds centre, axis, mask, kind and visibility of "
            "magnetic miniature devices in single fluoroscopy images. Made by mmdtwin; load it "
            "with `mmdtwin.perception.Detector.load()`.",
            "",
            f"- Operating threshold: {record.threshold:.4f}.",
            f"- Trained on: {record.data}. No real image.",
            "- Licence: MIT; backgrounds derive from LIDC-IDRI-0001 (CC BY 3.0, see "
            "`sim/data/LICENSE-CT.md`).",
            "",
            "## Training",
            "",
            f"    {record.command}",
            "",
            f"- Seed {record.seed}, {record.steps} steps of {record.batch} patches, "
            f"{record.seconds / 60.0:.1f} minutes in all on {record.machine}.",
            f"- Made with {record.versions}.",
            "",
            "## Figures, on held-out images of the same kind",
            "",
            "| what | value |",
            "|---|---|",
            *rows,
            "",
            "## Limits",
            "",
            "- For research; not for diagnosis or treatment.",
            "- Balls and clips of other things that look as devices do are taken for some.",
            "",
        ]
    )
