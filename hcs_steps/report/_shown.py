"""Which images of a plate its pictures show: whose step, which channels in which colours, which labels."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from hcs_steps.compile.plan import Plan
from hcs_steps.compile.units import channel_names
from hcs_steps.plate import read_unit_planes
from hcs_steps.results import Results
from hcs_steps.storage._display import channel_color
from hcs_steps.storage.protocol import PlaneKey

MOST_CHANNELS = 4
MOST_SITES = 4
MOST_TILED_WELLS = 400
"""A grid of sites in one picture needs pictures of more than a few pixels per site."""

WHITE = (255, 255, 255)
_COLORS = ((0, 0, 255), (0, 255, 0), (255, 0, 0), (255, 0, 255), (255, 255, 0), (0, 255, 255))
_COLOR_NAMES = dict(zip(_COLORS, ("blue", "green", "red", "magenta", "yellow", "cyan"), strict=True))


@dataclass(frozen=True)
class ShownChannel:
    """One channel of the pictures and its colour (R, G, B)."""

    number: int
    name: str
    color: tuple[int, int, int]

    @property
    def color_name(self) -> str:
        """The colour in a word."""
        return _COLOR_NAMES.get(self.color, "grey")


@dataclass(frozen=True)
class Shown:
    """What the pictures show.

    ``step`` is whose images, ``labels`` the label names in the order of the pipeline, each with the steps in
    whose stores they may lie (the first that has them counts). ``cells`` says where in the picture each site
    goes (row, column); empty where a picture is one site.
    """

    step: int
    channels: tuple[ShownChannel, ...]
    left_out: tuple[str, ...] = ()
    labels: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    cells: Mapping[int, tuple[int, int]] = field(default_factory=dict)

    @property
    def grid(self) -> tuple[int, int]:
        """Rows and columns of sites in a picture."""
        if not self.cells:
            return 1, 1
        return 1 + max(row for row, _ in self.cells.values()), 1 + max(
            column for _, column in self.cells.values()
        )

    def planes(self, published: Iterable[PlaneKey]) -> dict[tuple[int, int], PlaneKey]:
        """(site, channel) -> plane of a well: its first site or all that fit, first timepoint, and one z.

        The z plane is the projection (0) of a plate that also has planes, else the middle one.
        """
        keys = list(published)
        if not keys:
            return {}
        first = min(key.site for key in keys)
        sites = set(self.cells) or {first}
        time = min(key.timepoint for key in keys)
        chosen = middle_z(key.z_index for key in keys if key.timepoint == time)
        wanted = [key for key in keys if (key.z_index, key.timepoint) == (chosen, time) and key.site in sites]
        return {(key.site, key.channel): key for key in wanted}


def middle_z(z_indices: Iterable[int]) -> int:
    """The projection (0) where there are planes too, else the middle plane (of an even number, the upper)."""
    found = sorted(set(z_indices))
    return 0 if found[0] == 0 else found[len(found) // 2]


def choose(plan: Plan, results: Results) -> Shown | None:
    """What to show of a plate; None if it keeps no images."""
    step = shown_step(plan)
    if step is None:
        return None
    channels, left_out = _channels(plan, step)
    return Shown(step, channels, left_out, _label_stores(plan, step), _cells(plan, results, step))


def shown_step(plan: Plan) -> int | None:
    """The step whose images are looked at: the last kept ones that have labels, else the last kept ones."""
    kept = [i for i, step in enumerate(plan.steps) if step.kept and step.written and step.scope == "unit"]
    hosts = {step.labels_in for step in plan.steps if step.labels}
    return next(iter(reversed([index for index in kept if index in hosts] or kept)), None)


def _label_stores(plan: Plan, shown: int) -> dict[str, tuple[int, ...]]:
    homes: dict[str, list[int]] = {}
    for step in plan.steps:
        for name in step.labels:
            if plan.steps[step.labels_in].written:
                homes.setdefault(name, []).insert(0, step.labels_in)
    # Labels that lie beside the images shown are those that were made of them.
    return {
        name: tuple(sorted(set(found), key=lambda home: (home != shown, -home)))
        for name, found in homes.items()
    }


def _channels(plan: Plan, step: int) -> tuple[tuple[ShownChannel, ...], tuple[str, ...]]:
    """The channels of the pictures, and the names of those left out.

    A single channel is grey. Transmitted light would wash out fluorescence, so it is shown only by itself.
    """
    base = {int(number): name for number, name in plan.plate.channels.items()}
    names: dict[int, str] = {}
    for layout in plan.layouts:
        known = channel_names(plan.steps, layout.sources, step, base)
        names |= {key.channel: known.get(key.channel, str(key.channel)) for key in layout.keys[step]}
    colors = {n: _rgb(channel_color(name, i)) for i, (n, name) in enumerate(sorted(names.items()))}
    dyes = [number for number, color in colors.items() if color != WHITE]
    chosen = (dyes or list(colors)[:1])[:MOST_CHANNELS]
    left_out = tuple(name for number, name in sorted(names.items()) if number not in chosen)
    shown = _distinct([colors[number] for number in chosen]) if len(chosen) > 1 else [WHITE]
    return tuple(ShownChannel(n, names[n], color) for n, color in zip(chosen, shown, strict=False)), left_out


def _rgb(color: str) -> tuple[int, int, int]:
    red, green, blue = (int(color[i : i + 2], 16) for i in (0, 2, 4))
    return red, green, blue


def _distinct(colors: Sequence[tuple[int, int, int]]) -> list[tuple[int, int, int]]:
    """The colours, every repeated one replaced by one that no channel has."""
    result: list[tuple[int, int, int]] = []
    for color in colors:
        free = [other for other in _COLORS if other not in result and other not in colors]
        result.append(free[0] if color in result else color)
    return result


def _cells(plan: Plan, results: Results, step: int) -> dict[int, tuple[int, int]]:
    """Where each site of a small grid goes; empty where a picture is to show one site."""
    wells: dict[str, set[int]] = {}
    for unit in plan.units.values():
        keys = plan.layouts[unit.layout].keys[step]
        wells.setdefault(unit.well, set()).update(key.site for key in keys)
    sites = sorted(set().union(*wells.values()))
    if not 1 < len(sites) <= MOST_SITES or len(wells) > MOST_TILED_WELLS:
        return {}
    full = next((well for well, own in wells.items() if len(own) == len(sites)), "")
    planes = read_unit_planes(results.inventory, full) if full and results.inventory.is_file() else ()
    known = {plane.site: (plane.grid_row, plane.grid_column) for plane in planes}
    cells = {site: known.get(site, (-1, -1)) for site in sites}
    if min(min(cell) for cell in cells.values()) < 0 or len(set(cells.values())) < len(sites):
        cells = {site: divmod(number, 2) for number, site in enumerate(sites)}
    rows, columns = (sorted({cell[axis] for cell in cells.values()}) for axis in (0, 1))
    return {site: (rows.index(row), columns.index(column)) for site, (row, column) in cells.items()}
