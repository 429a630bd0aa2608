"""Where networks run: what a device may be called."""

from __future__ import annotations

from crystalgraph.errors import InputError


def usable_device(name: str) -> str:
    """The name of a device, if it is there.

    Raises:
        InputError: if it is not; the message names those that are.
    """
    import torch

    try:
        torch.zeros(1, device=name)
    except (RuntimeError, AssertionError, ValueError, NotImplementedError):
        kinds = ["cpu", *(f"cuda:{k}" for k in range(torch.cuda.device_count()))]
        raise InputError(f"device {name!r} is not usable here; available are {', '.join(kinds)}") from None
    return name
