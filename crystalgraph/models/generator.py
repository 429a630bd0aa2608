"""The generator: MLPs over Wyckoff sites that see, stage after stage, the crystal they have made so far.

Noise and a template go in; a lattice and the free parameters of each site come out. Every stage expands the crystal,
looks at the nearest neighbours of one atom per orbit, and moves the free parameters and the lattice. Displacements are
pulled back through the operator of the site, strains are projected on what the crystal system allows, so the space
group holds at every stage by construction. All stages together are a pass; what a pass made can be sent through again
(recycling). With no stages it is a plain deep set of MLPs.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor, nn

from crystalgraph.chemistry.elements import DESCRIPTORS, MAX_ATOMIC_NUMBER, covalent_radii, element_descriptors
from crystalgraph.crystals.nearest import image_distances, image_vectors, rough_distances
from crystalgraph.geometry.lattice import lattice_from_code, project_strain
from crystalgraph.models.layers import GaussianBasis, mlp, pool
from crystalgraph.models.sites import Noise, Sites, State
from crystalgraph.symmetry.parameters import ParametrisedTemplates
from crystalgraph.symmetry.wyckoff import N_SPACE_GROUPS

#: Largest |log(V / V0)|, and largest |k₁|…|k₅| of the lattice code.
VOLUME_RANGE = 0.5
SHAPE_RANGE = (0.6, 0.6, 0.6, 0.9, 0.9)

#: Lattices nearer to the bounds of the code than this are taken to be there.
LARGEST_TANH = 0.999

#: Neighbours further than this many times the sum of covalent radii are not seen.
REDUCED_CUTOFF = 2.8

#: Largest displacement of a site in one stage, Å.
MAX_STEP = 2.0

#: Random starts, of which the one with the least crowded atoms is taken.
N_STARTS = 4

#: Stages that share one search for neighbours; their vectors are always measured anew.
STAGES_PER_SEARCH = 2

Neighbors = tuple[Tensor, Tensor, Tensor]
"""Atom indices (n_sites, k), integer shifts (n_sites, k, 3), and whether the entry exists (n_sites, k)."""


class Stage(nn.Module):
    """One look at the crystal and one move.

    Args:
        width: width of the site states.
        edge_width: width of the messages along edges.
    """

    def __init__(self, width: int, edge_width: int) -> None:
        super().__init__()
        self.basis = GaussianBasis(0.2, 2.6, 16, 0.16)
        self.center, self.neighbor = nn.Linear(width, edge_width), nn.Linear(width, edge_width, bias=False)
        self.geometry = nn.Linear(18, edge_width, bias=False)
        self.edge = nn.Sequential(nn.SiLU(), nn.Linear(edge_width, edge_width), nn.SiLU())
        self.move = nn.Linear(edge_width, 2)
        self.update = mlp(3 * width + edge_width, width, width, last_scale=0.5)
        self.code = mlp(2 * width, width, 6, last_scale=0.1)
        with torch.no_grad():
            self.move.weight.mul_(0.3)
            self.move.bias.zero_()

    def forward(
        self, hidden: Tensor, sites: Sites, state: State, neighbors: Neighbors, radii: Tensor
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Return the new site states, the change of u, and the changes of the volume and shape logits."""
        crystals, center = state.crystals, sites.orbits.representative
        atoms, shifts, exists = neighbors
        vectors = image_vectors(crystals, center, atoms, shifts)
        distance = (vectors.square().sum(2) + 1e-6).sqrt()
        reduced = distance / (radii[crystals.atomic_numbers[atoms]] + radii[sites.atomic_numbers][:, None])
        direction = vectors / distance[:, :, None]
        seen = (1 - reduced / REDUCED_CUTOFF).relu().square() * exists
        features = torch.cat([self.basis(reduced), reduced.log()[:, :, None], (1 - reduced).relu()[:, :, None]], 2)
        # The sum of centre, neighbour and geometry, in as few passes over the edges as can be.
        heard = self.neighbor(hidden).index_select(0, sites.orbits.site[atoms].flatten())
        heard = torch.addmm(heard, features.flatten(0, 1), self.geometry.weight.T)
        message = self.edge(heard.view(*atoms.shape, -1).add_(self.center(hidden)[:, None]))
        push, stretch = (self.move(message) * seen[:, :, None]).unbind(2)

        force = torch.bmm(push[:, None], direction)[:, 0]
        length = (force.square().sum(1, keepdim=True) + 1e-6).sqrt()
        force = force * (MAX_STEP * torch.tanh(length / MAX_STEP) / length)
        frac = torch.linalg.solve_ex(state.lattice.transpose(1, 2)[sites.batch], force).result
        change_u = torch.einsum("nij,nj->ni", sites.pseudo_inverse, frac) * sites.free

        weighted = (stretch * sites.weight[:, None])[:, :, None] * direction
        strain = torch.bmm(weighted.transpose(1, 2), direction)
        strain = strain.new_zeros(len(sites), 3, 3).index_add(0, sites.batch, strain)
        change_volume, change_shape = project_strain(sites.system, strain)

        gathered = torch.bmm(seen[:, None], message)[:, 0]
        pooled = pool(hidden, sites.batch, sites.weight, len(sites))
        hidden = hidden + self.update(torch.cat([hidden, gathered, pooled[sites.batch]], 1))
        code = self.code(pool(hidden, sites.batch, sites.weight, len(sites)))
        return hidden, change_u, 0.3 * change_volume + code[:, 0], 0.3 * change_shape + code[:, 1:]


class Generator(nn.Module):
    """Fill Wyckoff templates.

    Args:
        width: width of the site states.
        edge_width: width of the messages along edges.
        n_stages: feedback stages; 0 makes a plain deep set.
        n_blocks: residual blocks of the site encoder.
        n_neighbors: nearest images seen from each orbit's representative.
        n_passes: how often a crystal is sent through all stages, see ``recycle``.
        n_noise: length of the global noise.
        element_dropout: share of element embeddings hidden in training, so that unseen elements mean something.
        group_dropout: share of space-group embeddings hidden in training.
    """

    radii: Tensor
    descriptors: Tensor
    element_volume: Tensor
    shape_range: Tensor

    def __init__(
        self,
        *,
        width: int,
        edge_width: int = 64,
        n_stages: int,
        n_blocks: int = 3,
        n_neighbors: int = 12,
        n_passes: int = 1,
        n_noise: int = 8,
        element_dropout: float = 0.15,
        group_dropout: float = 0.25,
    ) -> None:
        super().__init__()
        self.n_neighbors, self.n_passes, self.n_noise = n_neighbors, n_passes, n_noise
        self.element_dropout, self.group_dropout = element_dropout, group_dropout
        self.register_buffer("radii", covalent_radii().float())
        self.register_buffer("descriptors", element_descriptors().float())
        self.register_buffer("element_volume", torch.full((MAX_ATOMIC_NUMBER + 1,), 15.0))
        self.register_buffer("shape_range", torch.tensor(SHAPE_RANGE))
        self.element = nn.Embedding(MAX_ATOMIC_NUMBER + 1, 12)
        self.group = nn.Embedding(N_SPACE_GROUPS + 1, 12)
        n_crystal = 2 * len(DESCRIPTORS) + 7 + 12 + n_noise + 2
        n_site = len(DESCRIPTORS) + 12 + 20 + 6 + 1
        self.crystal = mlp(n_crystal, width, width)
        self.site = mlp(n_site + width, width, width)
        self.blocks = nn.ModuleList(mlp(4 * width, width, width, last_scale=0.5) for _ in range(n_blocks))
        self.code = mlp(3 * width, width, 6, last_scale=0.1)
        self.place = mlp(2 * width, width, 3) if n_stages == 0 else None
        self.stages = nn.ModuleList(Stage(width, edge_width) for _ in range(n_stages))

    def noise(self, sites: Sites, rng: torch.Generator, *, hide: bool = False) -> Noise:
        """Draw the noise of one draw.

        Args:
            sites: the templates.
            rng: on the CPU, whatever the device of the network.
            hide: hide some embeddings, as in training.
        """
        like, n, n_sites = sites.free, len(sites), len(sites.batch)
        starts, latent = torch.rand(N_STARTS, n_sites, 3, generator=rng), torch.randn(n, self.n_noise, generator=rng)
        seen = [torch.ones(n_sites, 1), torch.ones(n, 1)]
        if hide:
            shares = (self.element_dropout, self.group_dropout)
            seen = [(torch.rand(s.shape, generator=rng) >= p).float() for s, p in zip(seen, shares, strict=True)]
        return Noise(
            start=self._least_crowded(sites, starts.to(like) * sites.free),
            latent=latent.to(like),
            element_seen=seen[0].to(like),
            group_seen=seen[1].to(like),
        )

    @torch.no_grad()
    def _least_crowded(self, sites: Sites, starts: Tensor) -> Tensor:
        """Of several starts, (n_starts, n_sites, 3), the best for each crystal in a cell of middling shape."""
        no_code, center = starts.new_zeros(len(sites), 6), sites.orbits.representative
        lattice = lattice_from_code(sites.system, *self._code(sites, no_code[:, 0], no_code[:, 1:]))
        crowding = []
        for start in starts:
            crystals = sites.orbits.expand(lattice, start)
            atoms, distance = rough_distances(crystals, center)
            contact = self.radii[crystals.atomic_numbers[atoms]] + self.radii[sites.atomic_numbers][:, None]
            close = (1 - distance / contact).relu().square().sum(1) * sites.weight
            crowding.append(close.new_zeros(len(sites)).index_add(0, sites.batch, close))
        best = torch.stack(crowding).argmin(0)
        return starts[best[sites.batch], torch.arange(starts.shape[1], device=starts.device)]

    def encode(self, sites: Sites, noise: Noise) -> tuple[Tensor, Tensor]:
        """Site states, (n_sites, width), and crystal states, (n_crystals, width)."""
        n, described = len(sites), self.descriptors[sites.atomic_numbers]
        mean = described.new_zeros(n, described.shape[1]).index_add(0, sites.batch, described * sites.weight[:, None])
        spread = (described - mean[sites.batch]).square() * sites.weight[:, None]
        spread = (mean.new_zeros(mean.shape).index_add(0, sites.batch, spread) + 1e-6).sqrt()
        count = sites.atoms_per_cell.log()[:, None] / 3
        freedom = mean.new_zeros(n, 1).index_add(0, sites.batch, sites.free.sum(1, keepdim=True))
        crystal = self.crystal(
            torch.cat(
                [
                    mean,
                    spread,
                    nn.functional.one_hot(sites.system, 7).to(mean),
                    self.group(sites.space_group_number) * noise.group_seen,
                    noise.latent,
                    count,
                    (1 + freedom).log() / 2,
                ],
                1,
            )
        )
        angle = 2 * torch.pi * noise.start
        hidden = self.site(
            torch.cat(
                [
                    described,
                    self.element(sites.atomic_numbers) * noise.element_seen,
                    sites.operator,
                    angle.cos() * sites.free,
                    angle.sin() * sites.free,
                    described[:, :1] - mean[sites.batch, :1],
                    crystal[sites.batch],
                ],
                1,
            )
        )
        for block in self.blocks:
            pooled = pool(hidden, sites.batch, sites.weight, n)
            hidden = hidden + block(torch.cat([hidden, pooled[sites.batch], crystal[sites.batch]], 1))
        return hidden, crystal

    def _code(self, sites: Sites, volume: Tensor, shape: Tensor) -> tuple[Tensor, Tensor]:
        """Log volume, (n_crystals,), and k₁…k₅, (n_crystals, 5), from logits."""
        per_atom = self.element_volume[sites.atomic_numbers] * sites.weight
        per_atom = per_atom.new_zeros(len(sites)).index_add(0, sites.batch, per_atom)
        log_volume = (per_atom * sites.atoms_per_cell).log() + VOLUME_RANGE * torch.tanh(volume)
        return log_volume, self.shape_range * torch.tanh(shape)

    def _state(self, sites: Sites, volume: Tensor, shape: Tensor, u: Tensor) -> State:
        log_volume, code = self._code(sites, volume, shape)
        parametrised = ParametrisedTemplates(templates=sites.templates, log_volume=log_volume, shape=code, u=u)
        return State.of(sites, parametrised)

    def _logits(self, sites: Sites, start: ParametrisedTemplates) -> tuple[Tensor, Tensor]:
        """The logits that ``_code`` makes a lattice code from."""
        zero = torch.zeros_like(start.shape)
        middle, _ = self._code(sites, zero[:, 0], zero)
        volume, shape = (start.log_volume - middle) / VOLUME_RANGE, start.shape / self.shape_range
        return volume.clamp(-LARGEST_TANH, LARGEST_TANH).atanh(), shape.clamp(-LARGEST_TANH, LARGEST_TANH).atanh()

    def recycle(self, sites: Sites, noise: Noise, n_passes: int) -> list[State]:
        """Make crystals in several passes, each setting out from what the one before made.

        Gradients reach the weights through the last pass only.

        Returns:
            The states of the last pass, see ``forward``.

        Reference:
            J. Jumper et al., Nature 596, 583 (2021), Methods, "Recycling".
        """
        start = None
        with torch.no_grad():
            for _ in range(n_passes - 1):
                start = self(sites, noise, start)[-1]
        return self(sites, noise, start)

    def forward(self, sites: Sites, noise: Noise, start: State | None = None) -> list[State]:
        """Make crystals in one pass.

        Args:
            sites: the templates.
            noise: what is random, from ``self.noise``.
            start: crystals to set out from, instead of random parameters and a lattice guessed from the template.

        Returns:
            The state before the first stage and after each; the last is the answer.
        """
        if start is not None:
            noise = replace(noise, start=(start.parametrised.u % 1.0) * sites.free)
        hidden, crystal = self.encode(sites, noise)
        if start is None:
            code = self.code(torch.cat([pool(hidden, sites.batch, sites.weight, len(sites)), crystal], 1))
            volume, shape = code[:, 0], code[:, 1:]
        else:
            volume, shape = self._logits(sites, start.parametrised)
        u = noise.start
        if self.place is not None:
            u = u + self.place(torch.cat([hidden, crystal[sites.batch]], 1)) * sites.free
        states = [self._state(sites, volume, shape, u)]
        for number, stage in enumerate(self.stages):
            if number % STAGES_PER_SEARCH == 0:
                images = image_distances(states[-1].crystals, sites.orbits.representative)
                neighbors = images.nearest(self.n_neighbors)
            hidden, change_u, change_volume, change_shape = stage(hidden, sites, states[-1], neighbors, self.radii)
            u, volume, shape = u + change_u, volume + change_volume, shape + change_shape
            states.append(self._state(sites, volume, shape, u))
        return states
