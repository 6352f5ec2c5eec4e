"""How far every method of the book gets in the second drawn world: a table made of the chapters' records.

    uv run python benchmarks/standings.py

Trains nothing and records nothing.  Of every method one arm that a chapter shows, with the number of steps that it had
there, and the floor of the same record: the same network before training, read in the same way.  All are linear probes
on 10 labels per class.  Steps differ, and with them what a row can say: compare a method with its floor, not with the
next row.  Two arms are no default: DIET and Exemplar-CNN have 64 pictures (chapter 06b says why).
"""

import json
import statistics
from dataclasses import dataclass

from _record import RESULTS
from _world import WORLD

from ssl_lessons.errors import InputError
from ssl_lessons.methods import METHODS

CLEAR = 0.10  # points above its floor at which a method counts as having learned, three seeds or more
UPRIGHT, ANY = {"data": "upright objects"}, {"data": "any colour"}
# record: (what tells its floor, what all of its arms share)
RECORDS = {
    "embedded_world": ({"arm": "untrained"}, {}),
    "negatives": ({"group": "floor", "arm": "untrained"}, {}),
    "extensions": ({"part": "moco", "arm": "untrained"}, {"part": "moco"}),
    "one_view": ({"part": "arms", "arm": "untrained"}, {"part": "arms"}),
    "quality": ({"slice": "floor", "setting": "untrained"}, {"slice": "method"}),
    "self_distillation": ({"group": "floor", "arm": "untrained"}, {}),
    "correlation": ({"arm": "untrained"}, {}),
    "clustering": ({"arm": "untrained"}, {"crowd": "even"}),
    "masked": ({"part": "main", "arm": "untrained"}, {"part": "main"}),
    "dense": ({"part": "arms", "arm": "untrained"}, {"part": "arms"}),
    "pretext": ({"arm": "untrained"}, {}),
}


def whole(name: str, data: dict = UPRIGHT) -> dict:
    return {"arm": name, "read": "whole"} | data


# method: (record, what tells its arm); a third entry changes the record's floor
ARMS = {
    **{name: ("embedded_world", {"arm": name}) for name in ("simclr", "byol", "swav", "vicreg")},
    "simclr_v2": ("negatives", {"arm": "simclr_v2"}), "nnclr": ("negatives", {"arm": "nnclr"}),
    "supcon": ("negatives", {"arm": "SupCon"}), "mochi": ("negatives", {"arm": "MoCHi"}),
    "instdisc": ("negatives", {"arm": "memory bank"}),
    "moco_v2": ("extensions", {"arm": "moco 16"}),
    "spectral": ("one_view", {"arm": "spectral"}), "dcl": ("quality", {"setting": "dcl"}),
    "simsiam": ("self_distillation", {"arm": "simsiam"}), "msf": ("self_distillation", {"arm": "5 neighbours"}),
    "dino": ("self_distillation", {"group": "dino", "arm": "dino"}),
    "simdino": ("self_distillation", {"group": "long", "arm": "simdino"}),
    "barlow_twins": ("correlation", {"arm": "barlow"}),
    **{
        name: ("correlation", {"arm": name})
        for name in ("w_mse", "tico", "mmcr", "frossl", "emp_ssl", "lejepa", "visreg")
    },
    **{name: ("clustering", {"arm": name}) for name in ("deepcluster", "sela", "pcl", "msn")},
    **{
        name: ("masked", {"arm": name})
        for name in ("mae", "simmim", "beit", "data2vec", "ijepa", "crossmae", "salt")
    },
    **{name: ("dense", {"arm": name}) for name in ("densecl", "vicregl", "insloc")},
    **{name: ("pretext", whole(name), whole("untrained")) for name in ("rotation", "pirl", "context_encoder")},
    "diet": ("pretext", whole("diet 64"), whole("untrained")),
    "exemplar": ("pretext", whole("exemplar 64"), whole("untrained")),
    "counting": ("pretext", whole("counting") | {"read": "half"}, whole("untrained") | {"read": "half"}),
    "jigsaw": ("pretext", whole("jigsaw") | {"read": "tiles"}, whole("untrained") | {"read": "tiles"}),
    "relative_position": (
        "pretext", whole("relative_position") | {"read": "patches"}, whole("untrained") | {"read": "patches"},
    ),
    "colorization": ("pretext", whole("colorization", ANY), whole("untrained L", ANY)),
    "split_brain": ("pretext", whole("split_brain", ANY), whole("untrained", ANY)),
}  # fmt: skip


@dataclass(frozen=True)
class Standing:
    """One method: the probe and its floor, means over the seeds that both have."""

    method: str
    record: str
    steps: int
    seeds: int
    probe: float
    floor: float

    @property
    def lead(self) -> float:
        return self.probe - self.floor

    @property
    def learned(self) -> bool:
        return self.seeds >= 3 and self.lead >= CLEAR


def found(rows: list[dict], where: dict, key: str) -> dict[int, dict]:
    """The rows as told by `where`, by seed.

    Raises InputError where there is none, and where two rows of one seed fit (name one column more).
    """
    fit = [row for row in rows if all(row.get(k) == v for k, v in where.items()) and key in row]
    by_seed = {row["seed"]: row for row in fit}
    if len(by_seed) < len(fit) or not fit:
        raise InputError(f"{'several rows of one seed' if fit else 'no row'} of the record: {where}")
    return by_seed


def standing(method: str) -> Standing:
    record, where, *own_floor = ARMS[method]
    rows = json.loads((RESULTS / f"{record}.json").read_text(encoding="utf-8"))["rows"]
    rows = [row for row in rows if row.get("world") == WORLD]
    floor, shared = RECORDS[record]
    key = "tokens" if record == "masked" else "probe"  # a masked model is read as it was trained: all tokens
    arm, before = found(rows, shared | where, key), found(rows, own_floor[0] if own_floor else floor, key)
    seeds = sorted(arm.keys() & before.keys())
    probe, start = (statistics.fmean(by[s][key] for s in seeds) for by in (arm, before))
    return Standing(method, record, arm[seeds[0]].get("steps"), len(seeds), probe, start)


def standings() -> list[Standing]:
    """All methods that have a row in the second world, the largest lead first."""
    return sorted((standing(method) for method in ARMS), key=lambda row: -row.lead)


def main() -> None:
    table = standings()
    print(f"{'method':18} {'record':18} {'steps':>5} {'seeds':>5} {'probe':>6} {'floor':>6} {'lead':>6}")
    for r in table:
        print(
            f"{r.method:18} {r.record:18} {r.steps or '':>5} {r.seeds:5} {r.probe:6.1%} {r.floor:6.1%} "
            f"{100 * r.lead:+6.1f}{'' if r.learned else '  not clear'}"
        )
    learned = sum(r.learned for r in table)
    print(
        f"{learned} of {len(table)} are {100 * CLEAR:.0f} points or more above their floor, on three seeds or more"
    )
    missing = sorted(METHODS.keys() - ARMS.keys() - {"supervised"})
    print("No run in this world:", ", ".join(missing))


if __name__ == "__main__":
    main()
