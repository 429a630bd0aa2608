"""Which operations a CIF means: those that it lists, or those of the space group that it names.

A name may leave the setting open: an origin, the axes of a rhombohedral group, the unique axis of a monoclinic one.
Every setting counts whose operations keep the cell: for the metric tensor G and each rotation R, Rᵀ G R = G. Where what
is listed and what is named are different groups, both count.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

import gemmi
import numpy as np
import spglib
from numpy.typing import NDArray

from crystalgraph.io.cif_statements import Tags

_LISTS = (
    *("_space_group_symop_operation_xyz", "_symmetry_equiv_pos_as_xyz"),
    *("_space_group_symop_magn_operation_xyz", "_space_group_symop_magn_operation_mxmymz"),
)
_MAGNETIC = ("_space_group_symop_magn_operation_xyz", "_space_group_symop_magn_centering_xyz")
_HALL = ("_space_group_name_hall", "_symmetry_space_group_name_hall")
_HERMANN_MAUGUIN = (
    *("_space_group_name_h-m_alt", "_space_group_name_h-m_ref", "_space_group_name_h-m_full"),
    *("_symmetry_space_group_name_h-m", "_symmetry_space_group_name_h-m_alt"),
)
_NUMBER = ("_space_group_it_number", "_symmetry_int_tables_number")

#: Most that a cell may differ from one with exactly the symmetry, as a part of the lengths of its vectors.
_METRIC_TOLERANCE = 0.01

_MAX_OPERATIONS = 10_000


@dataclass(frozen=True, kw_only=True)
class Setting:
    """Operations of a space group in one setting.

    Attributes:
        name: in words.
        number: of the group, 1 to 230; 0 where it is not known.
        rotations: (n, 3, 3).
        translations: (n, 3).
        triplets: the same as ``x,y,z``.
    """

    name: str
    number: int
    rotations: NDArray[np.float64]
    translations: NDArray[np.float64]
    triplets: tuple[str, ...]

    def keeps(self, metric: NDArray[np.float64]) -> bool:
        """Whether the rotations keep a metric tensor, (3, 3)."""
        lengths = np.sqrt(np.diag(metric))
        turned = np.einsum("nji,jk,nkl->nil", self.rotations, metric, self.rotations)
        return bool((np.abs(turned - metric) <= _METRIC_TOLERANCE * np.outer(lengths, lengths)).all())


def settings_of(tags: Tags, metric: NDArray[np.float64]) -> list[Setting]:
    """The settings that a block may mean, at least one.

    Args:
        tags: of the block.
        metric: of its cell, (3, 3), Å².

    Raises:
        ValueError: if it names a group that is not known, lists operations that are none or no group, or none of them
            keeps the cell.
    """
    listed, named = _listed(tags), _named(tags, metric)
    if listed is not None and all(listed.number == setting.number for setting in named):
        named = []
    settings = [*([listed] if listed is not None else []), *named]
    if not settings:
        if unknown := _stated_group(tags):
            raise ValueError(f"no symmetry operations are listed and its space group {unknown} is not known")
        if any(tag.startswith("_space_group_magn_") for tag in tags):
            raise ValueError("it is a magnetic structure that lists no operations")
        return [_from_operations("P 1", [gemmi.Op("x,y,z")])]
    kept = [setting for setting in settings if setting.keeps(metric)]
    if not kept:
        names = " or ".join(dict.fromkeys(setting.name for setting in settings))
        raise ValueError(f"the symmetry of {names} does not keep its cell, which is in another setting")
    return kept


def _first(tags: Tags, names: Sequence[str]) -> str:
    return next((tags[name][0] for name in names if tags.get(name, [""])[0]), "")


def _listed(tags: Tags) -> Setting | None:
    """The operations that are listed."""
    name = next((name for name in _LISTS if name in tags), None)
    if name is None:
        return None
    texts = [text for text in tags[name] if text]
    if not texts:
        return None
    if len(texts) > _MAX_OPERATIONS:
        raise ValueError(f"it lists {len(texts):,} operations")
    operations = [_operation(text, is_magnetic=name in _MAGNETIC) for text in texts]
    if name in _MAGNETIC and (centrings := [text for text in tags.get(_MAGNETIC[1], ()) if text]):
        shifts = [_operation(text, is_magnetic=True) for text in centrings]
        operations = [shift * operation for shift in shifts for operation in operations]
    distinct = list({operation.wrap().triplet(): operation.wrap() for operation in operations}.values())
    if "x,y,z" not in {operation.triplet() for operation in distinct}:
        raise ValueError("the identity is not among its operations")
    triplets = tuple(operation.triplet() for operation in distinct)
    return _checked(triplets)


@lru_cache(maxsize=256)
def _checked(triplets: tuple[str, ...]) -> Setting:
    """Listed operations, if they are a group."""
    operations = [gemmi.Op(triplet) for triplet in triplets]
    if len(operations) > 1:
        group = gemmi.GroupOps(operations)
        group.add_missing_elements()
        if len(group) != len(operations):
            raise ValueError(f"its {len(operations)} operations are no group (one with them has {len(group)})")
    known = gemmi.find_spacegroup_by_ops(gemmi.GroupOps(operations))
    setting = _from_operations("", operations, known.number if known else 1 if len(operations) == 1 else 0)
    number = setting.number or _number_by_spglib(setting)
    what = "the identity as only operation" if len(operations) == 1 else f"its {len(operations)} operations"
    name = f"{what} (group {number or 'unknown'})"
    return replace(setting, name=name, number=number)


def _number_by_spglib(setting: Setting) -> int:
    """Number of a group in a setting that is in no table; 0 where it is not found."""
    found = spglib.get_spacegroup_type_from_symmetry(
        setting.rotations.astype(np.int32), setting.translations, symprec=1e-4
    )
    return 0 if found is None else int(found.number)


def _operation(text: str, *, is_magnetic: bool) -> gemmi.Op:
    """An operation; of a magnetic one, what it does to the nuclei."""
    try:
        if len(text) > 200:
            raise ValueError
        parts = text.split(",")
        return gemmi.Op(",".join(parts[:3] if is_magnetic and len(parts) == 4 else parts))
    except (RuntimeError, ValueError):
        raise ValueError(f"{text[:60]!r} is no symmetry operation") from None


def _named(tags: Tags, metric: NDArray[np.float64]) -> list[Setting]:
    """Settings of the group that is named; of several, where Hall's symbol, the other and the number contradict."""
    code = _first(tags, ("_space_group_it_coordinate_system_code",)).lower()
    hall, name, number = (_first(tags, names) for names in (_HALL, _HERMANN_MAUGUIN, _NUMBER))
    settings: list[Setting] = []
    for found in (
        _by_hall_symbol(hall),
        _by_name(name, code, metric),
        _by_number(int(number) if re.fullmatch(r"\d{1,3}", number) else 0, code, metric),
    ):
        if not {setting.number for setting in found} & {setting.number for setting in settings}:
            settings += found
    return settings


def _by_hall_symbol(hall: str) -> list[Setting]:
    """The setting of a Hall symbol; none where it is not one, such as a comment in its place."""
    try:
        return [_by_hall(hall, f"Hall symbol {hall!r}")] if hall else []
    except ValueError:
        return []


def _by_name(name: str, code: str, metric: NDArray[np.float64]) -> Sequence[Setting]:
    """Settings of a Hermann–Mauguin symbol; none where it is not known.

    A short symbol of a monoclinic group, such as P 2/m, leaves the unique axis to the cell; b goes first.
    """
    # Underscores stand for blanks (F_m_-3_m), or for the index of a screw axis (P2_1/c).
    text = name.replace("_", " ") if re.match(r"\s*[A-Za-z]_", name) else re.sub(r"(?<=[2346])_(?=[1-5])", "", name)
    text = text.replace("_", " ").strip() if len(text) <= 60 else ""
    # ICSD marks the first origin with S, the centre of symmetry as origin with Z.
    text = re.sub(r"\s*:?\s*([SZ])$", lambda end: {"S": ":1", "Z": ":2"}[end[1]], text)
    short = re.fullmatch(r"([A-Z])\s*(2[1(/][^:\s]*|2|m|[a-e]|n)", text)
    spellings = [text, *(f"{short[1]} 1 1 {short[2]}", f"{short[1]} {short[2]} 1 1")] if short else [text]
    settings: list[Setting] = []
    for spelling in filter(None, spellings):
        settings += _of_symbol(spelling, code)
        if any(setting.keeps(metric) for setting in settings):
            break
    return settings


@lru_cache(maxsize=1024)
def _of_symbol(text: str, code: str) -> tuple[Setting, ...]:
    """Settings of one spelling of a symbol, with every origin and rhombohedral axis that it leaves open."""
    plain = re.sub(r"[()]", "", text)  # P2(1)/c
    found = gemmi.find_spacegroup_by_name(text) or gemmi.find_spacegroup_by_name(plain) or _by_full_name(plain)
    if found is None:
        return ()
    explicit = re.search(r":\s*([12HRhr])$|\s([HRhr])$", text)
    choice = (explicit[1] or explicit[2]).upper() if explicit else code.upper() if code in ("1", "2", "h", "r") else ""
    return tuple(
        _by_hall(group.hall, group.xhm())
        for group in _groups_by_number()[found.number]
        if group.hm == found.hm and (not choice or _extension(group) == choice)
    )


def _by_number(number: int, code: str, metric: NDArray[np.float64]) -> list[Setting]:
    """Standard settings of a group; where none keeps the cell, those with another unique axis."""
    standard: list[Setting] = []
    others: list[Setting] = []
    for group in _groups_by_number().get(number, ()):
        if code in ("1", "2", "h", "r") and _extension(group).lower() not in ("", code):
            continue
        if group.qualifier in ("", "b", "b1", "-b1") or group.is_reference_setting():
            standard.append(_by_hall(group.hall, group.xhm()))
        elif group.qualifier in ("a", "a1", "-a1", "c", "c1", "-c1"):
            others.append(_by_hall(group.hall, group.xhm()))
    return standard if any(setting.keeps(metric) for setting in standard) else [*standard, *others]


def _extension(group: gemmi.SpaceGroup) -> str:
    """The choice of origin or of rhombohedral axes, empty where there is none."""
    return "" if group.ext == "\0" else group.ext


@lru_cache(maxsize=1)
def _groups_by_number() -> dict[int, list[gemmi.SpaceGroup]]:
    groups: dict[int, list[gemmi.SpaceGroup]] = {}
    for group in gemmi.spacegroup_table():
        groups.setdefault(group.number, []).append(group)
    return groups


def _by_full_name(text: str) -> gemmi.SpaceGroup | None:
    """The group of a full symbol, such as F 4/m -3 2/m or P 21/n 21/m 21/a, in the setting that it is of."""
    return _groups_by_full_name().get(_without_blanks(text))


@lru_cache(maxsize=1)
def _groups_by_full_name() -> dict[str, gemmi.SpaceGroup]:
    groups: dict[str, gemmi.SpaceGroup] = {}
    for hall_number in range(1, 531):
        kind = spglib.get_spacegroup_type(hall_number)
        if kind is None:
            continue
        group = gemmi.find_spacegroup_by_ops(gemmi.symops_from_hall(kind.hall_symbol))
        if group is not None:
            groups.setdefault(_without_blanks(kind.international_full), group)
    return groups


def _without_blanks(symbol: str) -> str:
    """A full symbol to compare; in tetragonal ones some tables leave 2/ before a mirror out."""
    key = re.sub(r"[ _]", "", symbol).lower()
    return re.sub(r"(?<=[a-z])2/", "", key) if key[1:2] == "4" else key


@lru_cache(maxsize=1024)
def _by_hall(hall: str, name: str) -> Setting:
    """The operations of a Hall symbol.

    Raises:
        ValueError: if it is none.
    """
    try:
        group = gemmi.symops_from_hall(hall)
    except (RuntimeError, ValueError):
        raise ValueError(f"{hall!r} is no Hall symbol") from None
    known = gemmi.find_spacegroup_by_ops(group)
    setting = _from_operations(name, list(group), known.number if known else 0)
    return setting if known else replace(setting, number=_number_by_spglib(setting))


def _from_operations(name: str, operations: Sequence[gemmi.Op], number: int = 1) -> Setting:
    return Setting(
        name=name,
        number=number,
        rotations=np.array([operation.rot for operation in operations], dtype=np.float64) / gemmi.Op.DEN,
        translations=np.array([operation.tran for operation in operations], dtype=np.float64) / gemmi.Op.DEN,
        triplets=tuple(operation.triplet() for operation in operations),
    )


def _stated_group(tags: Tags) -> str:
    """The space group that a block names; empty where it names none, or P1."""
    stated = [_first(tags, (name,)) for name in (*_HERMANN_MAUGUIN, *_NUMBER, *_HALL)]
    return next((group for group in stated if group.replace(" ", "").upper() not in ("", "1", "P1")), "")
