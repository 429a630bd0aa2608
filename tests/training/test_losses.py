"""The reconstruction loss does not mind what should not matter, and does mind what should."""

from dataclasses import replace

import torch

from crystalgraph.chemistry.elements import covalent_radii
from crystalgraph.models.sites import Sites, State
from crystalgraph.symmetry.parameters import ParametrisedTemplates
from crystalgraph.training.corpus import Corpus
from crystalgraph.training.losses import Profile, distance_profile, reconstruction_loss, roles


def measure(corpus: Corpus, shift: float = 0.0) -> tuple[ParametrisedTemplates, Profile]:
    """Real crystals of the training set, their free parameters shifted, and their profile."""
    data = corpus.training[torch.arange(0, len(corpus.training), 4)]
    sites = Sites.of(data.templates, dtype=torch.float64)
    state = State.of(sites, replace(data, u=data.u + shift))
    return state.parametrised, distance_profile(sites, roles(sites), state, covalent_radii())


def test_real_crystals_lose_nothing_to_themselves(small_corpus: Corpus) -> None:
    data, profile = measure(small_corpus)
    terms = reconstruction_loss(data, data, profile, profile)
    for term in (terms.distance, terms.volume, terms.shape):
        assert term.abs().max() == 0
    assert (terms.repulsion < 0.05).float().mean() > 0.95


def test_whole_lattice_vectors_do_not_count_and_displacements_do(small_corpus: Corpus) -> None:
    data, profile = measure(small_corpus)
    same = reconstruction_loss(*(lambda m: (m[0], data, m[1], profile))(measure(small_corpus, 1.0)))
    assert same.distance.max() < 1e-9
    free = small_corpus.training[torch.arange(0, len(small_corpus.training), 4)].templates.num_free > 0
    moved = reconstruction_loss(*(lambda m: (m[0], data, m[1], profile))(measure(small_corpus, 0.07)))
    assert (moved.distance[free] > 1e-3).float().mean() > 0.8
    assert moved.distance[~free].max() < 1e-9
