"""Where a model runs and in which precision; knows no model."""

from collections.abc import Sequence

import torch

from rerankers.errors import BadArgument

Devices = str | int | Sequence[str | int] | None
"""One or several of ``"cpu"``, ``"cuda:1"`` or just ``1``; None is all GPUs, else Apple's, else the CPU."""


def choose_devices(devices: Devices) -> tuple[torch.device, ...]:
    """The devices that a caller names, at least one; the same one may be named twice.

    Raises:
        BadArgument: this names none.
    """
    names = _list_own() if devices is None else [devices] if isinstance(devices, str | int) else list(devices)
    if not names:
        raise BadArgument("devices: expected at least one, found none")
    return tuple(_read_device(name) for name in names)


def _list_own() -> list[str | int]:
    if torch.cuda.is_available():
        return list(range(torch.cuda.device_count()))
    return ["mps" if torch.backends.mps.is_available() else "cpu"]


def _read_device(name: str | int) -> torch.device:
    try:
        return torch.device(f"cuda:{name}" if isinstance(name, int) else name)
    except (RuntimeError, TypeError) as error:
        raise BadArgument(f"devices: {name!r} is no device ({error})") from error


def refuse_missing_device(device: torch.device) -> None:
    """Raise BadArgument when this machine, or this build of torch, does not have the device."""
    try:
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        raise BadArgument(f"devices: {device} can't be used here ({error})") from error


def choose_dtype(devices: Sequence[torch.device], use_fp16: bool, use_bf16: bool) -> torch.dtype:
    """The precision of the weights: half only where it is asked for and, for fp16, no device is a CPU."""
    if use_fp16 and use_bf16:
        raise BadArgument("use_fp16, use_bf16: choose one of them")
    if use_bf16:
        return torch.bfloat16
    has_cpu = any(device.type == "cpu" for device in devices)
    return torch.float16 if use_fp16 and not has_cpu else torch.float32


def default_token_budget(device: torch.device) -> int:
    """How many padded tokens a forward pass holds: what a CPU's caches like, else 128 sequences of 512."""
    return 2048 if device.type == "cpu" else 65536


def is_out_of_memory(error: RuntimeError) -> bool:
    """CUDA has a class for it; the CPU's and Apple's allocators only say so."""
    said = str(error)
    return (
        isinstance(error, torch.OutOfMemoryError)
        or "out of memory" in said
        or "can't allocate memory" in said
    )
