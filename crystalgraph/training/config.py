"""What a training run is told, read from TOML and checked."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from crystalgraph.errors import InputError

Positive = Annotated[int, Field(gt=0)]
Share = Annotated[float, Field(ge=0, lt=1)]


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class DataConfig(_Section):
    """Which crystals are learned from.

    Attributes:
        dataset: name or path of a dataset.
        system: the system that will be asked for; none of its crystals is learned from.
        max_atoms: largest primitive cell.
        max_sites: most orbits in a template.
        holdout_systems: further systems none of whose crystals is learned from, so that one model can be judged on
            several.
        known: dataset of the known phases of the system, which no re-decorated crystal may equal; those in
            ``dataset`` always count.
        holdout: share of the prototypes, or of the reduced formulas, that are never trained on.
        holdout_by: which of the two; polymorphs have one formula and stay together.
        seed: of the split.
    """

    dataset: str = "corpus"
    system: str
    holdout_systems: tuple[str, ...] = ()
    known: str | None = None
    max_atoms: Positive = 24
    max_sites: Positive = 12
    holdout: Share = 0.1
    holdout_by: Literal["prototype", "formula"] = "prototype"
    seed: int = 0


class GeneratorConfig(_Section):
    """The generator; ``form`` chooses the controls: "plain" has no feedback, "raw" no symmetry either."""

    form: Literal["feedback", "plain", "raw"] = "feedback"
    width: Positive = 128
    edge_width: Positive = 64
    n_stages: Positive = 6
    n_blocks: Positive = 3
    n_neighbors: Positive = 12
    n_passes: Positive = 3


class PriorConfig(_Section):
    """Learning which templates are likely for given elements, before all else.

    Attributes:
        steps: how many; with none all templates are as likely.
        batch_size: crystals a step.
        n_others: templates of other crystals, with the same elements put on them, that each is told from.
        hidden: share of the elements and groups whose identity is hidden.
    """

    steps: Annotated[int, Field(ge=0)] = 2000
    batch_size: Positive = 64
    n_others: Positive = 15
    width: Positive = 64
    hidden: Share = 0.3
    learning_rate: Annotated[float, Field(gt=0)] = 1.5e-3
    ema: Share = 0.99


class WarmStartConfig(_Section):
    """Supervised training on the corpus: best of ``n_draws`` per crystal.

    Attributes:
        steps: how many.
        batch_size: crystals a step; the threads of the run share them.
        n_draws: draws per crystal.
        learning_rate: at its peak; 3 times as much sets out faster and diverges after a thousand steps.
        ema: memory of the moving average of the weights.
    """

    steps: Positive = 8000
    batch_size: Positive = 96
    n_draws: Positive = 3
    learning_rate: Annotated[float, Field(gt=0)] = 1.5e-3
    ema: Share = 0.995


class AdversarialConfig(_Section):
    """Adversarial training after the warm start, whose term stays beside it.

    Attributes:
        n_draws: draws of which the warm start's term takes the best.
        weight: of the adversarial term.
        repulsion: weight of atoms too close, over that of the real crystal, in the draw that the discriminator sees.
        penalty: weight of the gradient penalties R1 and R2.
        noise: on real positions, at the start and at the end, Å.
        width: of the discriminator.
        head_start: steps in which the discriminator learns alone.
    """

    steps: Annotated[int, Field(ge=0)] = 1000
    batch_size: Positive = 32
    n_draws: Positive = 2
    learning_rate: Annotated[float, Field(gt=0)] = 4e-4
    generator_learning_rate: Annotated[float, Field(gt=0)] = 3e-4
    weight: Annotated[float, Field(ge=0)] = 0.1
    repulsion: Annotated[float, Field(ge=0)] = 50.0
    penalty: Annotated[float, Field(ge=0)] = 0.1
    noise: tuple[float, float] = (0.09, 0.01)
    width: Positive = 32
    head_start: Annotated[int, Field(ge=0)] = 200
    ema: Share = 0.995


class EnergiesConfig(_Section):
    """Learning, last, how high above the hull the model's own crystals come out, and which way is down.

    Attributes:
        systems: of two or three elements in each round, picked at random from those of the training crystals; with none
            the discriminator stays that of the adversarial phase, and no calculator is needed.
        rounds: of labels and learning from them; from the second on, crystals are labelled that have been refined by
            what was learned before, so that what it has wrong is set right.
        samples: crystals drawn in each system, of which the calculator gives energy, forces and stress.
        calculator: see `crystalgraph.relax.potentials.make_calculator`.
        width: of the discriminator that learns them.
        n_layers: of that discriminator.
        cutoff: of its edges, Å.
    """

    systems: Annotated[int, Field(ge=0)] = 700
    rounds: Positive = 2
    samples: Positive = 20
    calculator: str = "chgnet"
    steps: Positive = 4000
    batch_size: Positive = 64
    width: Positive = 96
    n_layers: Positive = 3
    cutoff: Annotated[float, Field(gt=0)] = 4.5
    learning_rate: Annotated[float, Field(gt=0)] = 2e-3
    ema: Share = 0.99


class Config(_Section):
    """A training run: prior, warm start, prototypes re-decorated with the system's elements, adversarial, energies.

    With ``start``, the name or folder of a finished model of the same data, all but the energies is taken from it.
    """

    name: str
    start: str | None = None
    seed: int = 0
    threads: Positive = 2
    checkpoint_every: Positive = 250
    data: DataConfig
    generator: GeneratorConfig = GeneratorConfig()
    prior: PriorConfig = PriorConfig()
    warm_start: WarmStartConfig = WarmStartConfig()
    redecorated: WarmStartConfig | None = None
    adversarial: AdversarialConfig = AdversarialConfig()
    energies: EnergiesConfig = EnergiesConfig()


def read_config(path: Path) -> str:
    """The text of a config file.

    Raises:
        InputError: if it cannot be read.
    """
    try:
        return path.read_text()
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not text"
        raise InputError(f"cannot read config {path}: {reason}; name a TOML file such as configs/nbo.toml") from None


def parse_config(text: str, source: str) -> Config:
    """Check a config.

    Args:
        text: TOML.
        source: what messages call it.

    Raises:
        InputError: if the text is not TOML, or a value is not allowed.
    """
    try:
        return Config.model_validate(tomllib.loads(text))
    except tomllib.TOMLDecodeError as error:
        raise InputError(f"{source} is not valid TOML: {error}") from None
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise InputError(f"{source}: {where}: {first['msg']} (received {first.get('input')!r})") from None


def config_text(config: str | Path) -> str:
    """The text of a config, however it is named.

    Args:
        config: a TOML file, its text (more than one line), or a chemical system, for which the standard settings are
            taken.

    Raises:
        InputError: if a file cannot be read, or a text is no chemical system.
    """
    from crystalgraph.chemistry.system import ChemicalSystem

    if isinstance(config, Path) or config.endswith(".toml"):
        return read_config(Path(config))
    return config if "\n" in config else system_config(str(ChemicalSystem.parse(config)))


def load_config(path: Path) -> Config:
    """Read and check a TOML file; errors as `read_config` and `parse_config`."""
    return parse_config(read_config(path), str(path))


def system_config(system: str) -> str:
    """The text of a config that trains for a system with the standard settings; configs/nbo.toml goes further.

    Args:
        system: such as "V-O".
    """
    return f'name = "{system}"\n\n[data]\nsystem = "{system}"\n'
