"""crystalgraph: propose, judge and rank new crystals of a chemical system.

The names below are the public face. Each is imported when it is first used, so that ``import crystalgraph`` takes no
time and loads neither torch nor pymatgen.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from crystalgraph.crystals.batch import Crystals
    from crystalgraph.crystals.matching import matches
    from crystalgraph.crystals.table import CrystalTable
    from crystalgraph.crystals.validity import strict_validity
    from crystalgraph.engine.workers import Workers
    from crystalgraph.errors import InputError
    from crystalgraph.graphs.dataset import CrystalGraphDataset
    from crystalgraph.io.load import load
    from crystalgraph.known.phases import known_phases
    from crystalgraph.models.bundle import load_model
    from crystalgraph.relax.hull import Hull
    from crystalgraph.relax.many import relax_many as relax_structures
    from crystalgraph.relax.relaxation import Relaxation, RelaxSettings
    from crystalgraph.runs.evaluate import Evaluation, evaluate
    from crystalgraph.runs.generate import generate
    from crystalgraph.runs.generation_result import GenerationResult
    from crystalgraph.runs.train import train
    from crystalgraph.screening.request import GenerationRequest

__version__ = "0.2.0"

__all__ = [
    "CrystalGraphDataset",
    "CrystalTable",
    "Crystals",
    "Evaluation",
    "GenerationRequest",
    "GenerationResult",
    "Hull",
    "InputError",
    "RelaxSettings",
    "Relaxation",
    "Workers",
    "evaluate",
    "generate",
    "known_phases",
    "load",
    "load_model",
    "matches",
    "relax_structures",
    "strict_validity",
    "train",
]

_HOMES = {
    "CrystalGraphDataset": "graphs.dataset:CrystalGraphDataset",
    "CrystalTable": "crystals.table:CrystalTable",
    "Crystals": "crystals.batch:Crystals",
    "Evaluation": "runs.evaluate:Evaluation",
    "GenerationRequest": "screening.request:GenerationRequest",
    "GenerationResult": "runs.generation_result:GenerationResult",
    "Hull": "relax.hull:Hull",
    "InputError": "errors:InputError",
    "RelaxSettings": "relax.relaxation:RelaxSettings",
    "Relaxation": "relax.relaxation:Relaxation",
    "Workers": "engine.workers:Workers",
    "evaluate": "runs.evaluate:evaluate",
    "generate": "runs.generate:generate",
    "known_phases": "known.phases:known_phases",
    "load": "io.load:load",
    "load_model": "models.bundle:load_model",
    "matches": "crystals.matching:matches",
    "relax_structures": "relax.many:relax_many",
    "strict_validity": "crystals.validity:strict_validity",
    "train": "runs.train:train",
}
"""Name -> the module of the package and what it is called there."""


def __dir__() -> list[str]:
    return sorted([*__all__, "__version__", "__doc__", "__name__", "__file__", "__path__"])


if not TYPE_CHECKING:  # a type checker reads the imports above; this would make every other name right, too

    def __getattr__(name: str) -> Any:
        if name not in _HOMES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        module, attribute = _HOMES[name].split(":")
        value = getattr(import_module(f"{__name__}.{module}"), attribute)
        globals()[name] = value
        return value
