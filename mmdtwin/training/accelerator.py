"""The device and the precision that networks are trained on and in."""

from __future__ import annotations

from typing import Any, Literal

from mmdtwin.errors import UserError

Precision = Literal["no", "bf16", "fp16"]


def make_accelerator(device: str, precision: Precision | None = None) -> Any:
    """Return an accelerator.

    Parameters
    ----------
    device : str
        "cpu" or "cuda".
    precision : {"no", "bf16", "fp16"}, optional
        By default mixed on CUDA and single on a CPU: one without instructions for bfloat16 trains
        some 10 times slower in it, one with AMX up to twice as fast.

    Raises
    ------
    UserError
        If the machine lacks the device, or the device the precision.
    """
    import torch
    from accelerate import Accelerator
    from accelerate.state import AcceleratorState

    AcceleratorState._reset_state(reset_partial_state=True)  # it keeps its first precision
    if device == "cpu":
        if precision == "fp16":
            raise UserError("precision 'fp16': not on a CPU; allowed: no, bf16")
        return Accelerator(cpu=True, mixed_precision=precision or "no")
    if not torch.cuda.is_available():
        raise UserError(f"device '{device}': not on this machine; allowed: cpu")
    best: Precision = "bf16" if torch.cuda.is_bf16_supported() else "fp16"
    return Accelerator(mixed_precision=precision or best)


def check_device(device: str) -> None:
    """Raise a `UserError` if there is no such device."""
    import torch

    if device == "cpu":
        return
    kind, _, index = device.partition(":")
    if kind != "cuda" or (index and not index.isdigit()):
        raise UserError(f"device '{device}': unknown; allowed: cpu, cuda, cuda:N")
    if int(index or 0) >= torch.cuda.device_count():
        raise UserError(f"device '{device}': not on this machine; allowed: cpu")


def machine_name(device: str) -> str:
    """Return what is trained on, for the record."""
    import platform

    import torch

    if device.startswith("cuda"):
        return str(torch.cuda.get_device_name())
    return f"{platform.machine()} CPU, {torch.get_num_threads()} threads"
