"""What a model's files may ask for, checked before memory is taken: widths, counts, and what numbers point at."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from crystalgraph.chemistry.elements import MAX_ATOMIC_NUMBER
from crystalgraph.symmetry.parameters import ParametrisedTemplates
from crystalgraph.symmetry.template import Templates
from crystalgraph.symmetry.wyckoff import N_SPACE_GROUPS, wyckoff_table

COUNTS = {
    **dict.fromkeys(("width", "edge_width", "n_noise"), 1024),
    **dict.fromkeys(("n_stages", "n_blocks", "n_layers"), 16),
    **dict.fromkeys(("n_passes", "n_basis"), 64),
    **dict.fromkeys(("n_neighbors", "max_neighbors"), 1024),
}
"""Whole-number arguments of the networks, and the largest that is taken: a fifth of it makes a large model, and all
together take less than 2 GB."""

NUMBERS = {"cutoff": 20.0, **dict.fromkeys(("hidden", "element_dropout", "group_dropout"), 1.0)}
"""Other numbers, and the largest that is taken; the cutoff is in Å."""


def build_network(network: Callable[..., nn.Module], arguments: Mapping[str, Any], tensors: dict[str, Tensor]) -> Any:
    """Make a network and fill it.

    Args:
        network: its class.
        arguments: of the class, from a file.
        tensors: its state, from a file.

    Raises:
        ValueError: if an argument is beyond its limit, or a tensor not finite.
        RuntimeError: if the tensors are not those of such a network.
    """
    for name, value in arguments.items():
        _check_argument(name, value)
    _check_finite(tensors)
    made = network(**arguments)
    made.load_state_dict(tensors)
    return made


def check_templates(templates: Templates) -> None:
    """See that templates name groups, positions and elements that there are.

    Raises:
        ValueError: if one does not.
    """
    numbers, counts = templates.space_group_number, templates.num_sites
    n_sites = int(counts.sum()) if counts.ndim == 1 else -1
    if not (numbers.shape == counts.shape and templates.position.shape == templates.atomic_numbers.shape == (n_sites,)):
        raise ValueError("its templates have not as many sites as they say")
    table = wyckoff_table()
    _check_range("space groups", numbers, 1, N_SPACE_GROUPS)
    _check_range("numbers of sites", counts, 1, 255)
    _check_range("elements", templates.atomic_numbers, 1, MAX_ATOMIC_NUMBER)
    _check_range("Wyckoff positions", templates.position, 0, len(table.letter) - 1)
    if (table.space_group_number[templates.position] != numbers[templates.batch]).any():
        raise ValueError("its templates have Wyckoff positions of other space groups")


def check_parameters(data: ParametrisedTemplates) -> None:
    """See that parameters are as many as the templates have, and finite.

    Raises:
        ValueError: if they are not.
    """
    check_templates(data.templates)
    n, n_sites = len(data.templates), len(data.templates.position)
    if (data.log_volume.shape, data.shape.shape, data.u.shape) != ((n,), (n, 5), (n_sites, 3)):
        raise ValueError("its templates have not as many parameters as they need")
    _check_finite({"log_volume": data.log_volume, "shape": data.shape, "u": data.u})


def _check_argument(name: str, value: Any) -> None:
    if name == "max_neighbors" and value is None:
        return
    if name in COUNTS:
        if not (isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= COUNTS[name]):
            raise ValueError(f"{name} {value!r} is no whole number from 0 to {COUNTS[name]}")
    elif name not in NUMBERS:
        raise ValueError(f"no network has {name!r}")
    elif not (isinstance(value, int | float) and 0 <= value <= NUMBERS[name]):
        raise ValueError(f"{name} {value!r} is no number from 0 to {NUMBERS[name]:g}")


def _check_range(what: str, values: Tensor, least: int, most: int) -> None:
    if ((values < least) | (values > most)).any():
        raise ValueError(f"its templates have {what} outside {least} to {most}")


def _check_finite(tensors: Mapping[str, Tensor]) -> None:
    for name, tensor in tensors.items():
        if tensor.is_floating_point() and not torch.isfinite(tensor).all():
            raise ValueError(f"{name} is not finite")
