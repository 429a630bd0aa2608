"""Configs: the shipped ones are read, and a mistake is named in one line."""

from pathlib import Path

import pytest

from crystalgraph.errors import InputError
from crystalgraph.training.config import load_config

CONFIGS = sorted((Path(__file__).resolve().parents[2] / "configs").glob("*.toml"))


@pytest.mark.parametrize("path", CONFIGS, ids=lambda p: p.name)
def test_shipped_configs(path: Path) -> None:
    config = load_config(path)
    assert path.stem in (config.name, f"{config.name}-energies")
    assert config.data.system == {"vo": "V-O"}.get(config.name, "Nb-O")


def test_controls_differ_from_the_main_config_in_form_alone() -> None:
    configs = {path.stem: load_config(path) for path in CONFIGS}
    main = configs["nbo"]
    for name, form in (("nbo-plain", "plain"), ("nbo-raw", "raw")):
        assert configs[name].generator.form == form
        assert configs[name].data == main.data
        assert configs[name].generator.width == main.generator.width


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("name = ", "not valid TOML"),
        ('name = "x"\n[warm_start]\nsteps = 5', "data"),
        ('name = "x"\n[data]\nsystem = "Nb-O"\n[warm_start]\nsteps = 0', "warm_start.steps"),
        ('name = "x"\nspeed = 3\n[data]\nsystem = "Nb-O"\n[warm_start]\nsteps = 5', "speed"),
        ('name = "x"\n[data]\nsystem = "Nb-O"\nholdout = 1.5\n[warm_start]\nsteps = 5', "data.holdout"),
    ],
)
def test_mistakes_are_named(tmp_path: Path, text: str, named: str) -> None:
    path = tmp_path / "wrong.toml"
    path.write_text(text)
    with pytest.raises(InputError, match=named) as caught:
        load_config(path)
    assert "\n" not in str(caught.value)


def test_missing_file() -> None:
    with pytest.raises(InputError, match=r"nowhere\.toml"):
        load_config(Path("nowhere.toml"))
