"""A study whose results stay closed until its prediction is written down.

    study = Study("crowd", hypothesis="...", treatment="...", control="...", ...)
    study.card()                                        # what is compared, and whether so few seeds can decide
    study.predict(low=-1, high=1, because="...")        # points; once, before any run
    study.results(measure)                              # measure(seed) -> {"treatment": .., "control": .., "floor": ..}

Plan, prediction and rows lie in one file, `FOLDER/NAME.json`.  The idea of writing a plan down before the data is old
(clinical trials register theirs); for predictive modelling see Hofman et al. 2023, https://arxiv.org/abs/2311.18807.
"""

import datetime
import json
import math
import re
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from ssl_lessons.book import files, plots
from ssl_lessons.errors import InputError
from ssl_lessons.evaluation import evidence
from ssl_lessons.evaluation.evidence import FAILS, HOLDS, Verdict

TEXTS = ("hypothesis", "treatment", "control", "measured", "changes_my_mind")
RULES = tuple(rule for rule in evidence.RULES if rule != "correlates")


@dataclass(frozen=True)
class Study:
    """One hypothesis, "the treatment is RULE than the control", and all that is fixed before its first run.

    name: of its file.  measured: the quantity, of which 0.01 is a point.  rule, margin: see evidence.compare; the
    floor is asked of both arms wherever `measure` gives one.  seeds: one number per pair of runs; unit: what a pair is
    ("seeds", "worlds").  effect, spread: what you expect of the differences, for the power.  changes_my_mind: which
    result would.  command, minutes: of the real run, for all its seeds.  folder: where the file lies.
    Raises InputError for an empty text, a name that is no file's, an unknown rule, and numbers that plan nothing.
    """

    name: str
    hypothesis: str
    treatment: str
    control: str
    measured: str
    changes_my_mind: str
    effect: float
    spread: float
    rule: str = "higher"
    margin: float = evidence.MARGIN
    seeds: tuple[int, ...] = (0, 1, 2)
    unit: str = "seeds"
    command: str = ""
    minutes: float | None = None
    folder: str = "studies"

    def __post_init__(self):
        empty = [text for text in TEXTS if not str(getattr(self, text)).strip(" .")]
        if empty:
            raise InputError(f"the study says nothing under {empty[0]!r}: write one sentence")
        if not re.fullmatch(r"[\w-]+", self.name):
            raise InputError(f"the name {self.name!r} is no file's: take letters, digits, - and _")
        if self.rule not in RULES:
            raise InputError(f"the rule must be one of {', '.join(RULES)}, not {self.rule!r}")
        numbers = (self.effect, self.spread, self.margin)
        if not all(map(math.isfinite, numbers)) or self.spread < 0 or self.margin <= 0:
            raise InputError("effect, spread (0 or more) and margin (above 0) must be finite numbers")
        if len(set(self.seeds)) != len(self.seeds) or len(self.seeds) < evidence.FEWEST:
            raise InputError(f"give at least {evidence.FEWEST} different {self.unit}: fewer decide nothing")

    @property
    def path(self) -> Path:
        return Path(self.folder) / f"{self.name}.json"

    def power(self, n: int | None = None) -> float:
        """The chance that n pairs (default: the planned ones) decide, if effect and spread are as expected."""
        turned = self.effect if self.rule in ("higher", "no_higher") else -self.effect
        found = evidence.chances(turned, self.spread, n or len(self.seeds), self.margin)
        return found[HOLDS] + found[FAILS]

    def needed(self) -> int:
        """How many pairs decide in four of five studies, if effect and spread are as expected."""
        turned = self.effect if self.rule in ("higher", "no_higher") else -self.effect
        return evidence.pairs_to_decide(turned, self.spread, self.margin)

    def card(self) -> None:
        """Show the plan as a table, with the power that follows from it."""
        needed = self.needed()
        enough = f"more than {evidence.MOST}" if needed > evidence.MOST else str(needed)
        rows = {
            "Hypothesis": self.hypothesis,
            "Measured": f"{self.measured}: {self.treatment}, against {self.control}",
            "Rule": f"{self.rule}, margin {100 * self.margin:g} points",
            "Expected": f"{100 * self.effect:+.1f} points, spread over {self.unit} {100 * self.spread:.1f}",
            "Power": f"{len(self.seeds)} {self.unit} decide with probability {self.power():.0%}; "
            f"with {enough}, four studies of five decide",
            "Changes my mind": self.changes_my_mind,
        }
        if self.command:
            rows["The real run"] = self.command
        if self.minutes is not None:
            rows["Cost"] = f"about {self.minutes:.0f} minutes of one core"
        lines = [{"what": what, "plan": plan} for what, plan in rows.items()]
        plots.table(lines, f"Study {self.name}, before its results", {"what": "", "plan": ""})

    def predict(self, low: float, high: float, because: str) -> None:
        """Write the prediction down: between low and high points, treatment minus control, and why.

        Raises InputError without a reason of three words, for an interval that is none, and once results are there.
        """
        numbers = all(
            isinstance(v, int | float) and not isinstance(v, bool) and math.isfinite(v) for v in (low, high)
        )
        if not numbers or not low < high:
            raise InputError(
                "predict an interval in points, low below high: study.predict(low=-1, high=3, ...)"
            )
        if not isinstance(because, str) or len(because.split()) < 3:
            raise InputError("say why, in three words or more: a guess without a reason teaches you nothing")
        state = self._read()
        if state.get("rows"):
            raise InputError(
                f"{self.path.name} has results already: what comes after them is no prediction; "
                "give a new study a new name"
            )
        now = datetime.datetime.now().isoformat(timespec="minutes")
        said = {"low": low, "high": high, "because": because, "at": now}
        self._write({"plan": self._plan(), "prediction": said, "rows": {}})
        print(f"Written to {self.path.name}: between {low:+g} and {high:+g} points, because {because}")

    def results(self, measure: Callable[[int], Mapping[str, float]]) -> Verdict:
        """Run what is missing, save each pair at once, show the verdict beside the prediction, return the verdict.

        measure(seed): {"treatment": x, "control": y} and, where there is one, "floor": what has learned nothing.
        Raises InputError, before anything runs, without a prediction or if the plan is another than the predicted one.
        """
        state = self._read()
        if not state.get("prediction"):
            raise InputError(
                "the results stay closed: write your prediction down first, "
                "study.predict(low=..., high=..., because=...)"
            )
        plan = self._plan()
        if changed := [key for key in plan if plan[key] != state["plan"].get(key)]:
            raise InputError(
                f"{changed[0]!r} is not what it was when you predicted: give the new study a new name and predict"
            )
        for seed in self.seeds:
            if str(seed) not in state["rows"]:
                state["rows"][str(seed)] = {arm: float(value) for arm, value in measure(seed).items()}
                self._write(state)
        verdict = self._verdict([state["rows"][str(seed)] for seed in self.seeds])
        print(self._told(verdict, state["prediction"]))
        return verdict

    def _verdict(self, rows: list[dict]) -> Verdict:
        arms = {arm: [row[arm] for row in rows] for arm in ("treatment", "control")}
        floor = [row["floor"] for row in rows] if all("floor" in row for row in rows) else None
        learns = "none" if floor is None else "both"
        return evidence.compare(**arms, margin=self.margin, rule=self.rule, floor=floor, learns=learns)

    def _told(self, verdict: Verdict, said: dict) -> str:
        lines = [f"{self.hypothesis}", f"  {verdict}"]
        if verdict.estimate is not None:
            points = 100 * verdict.estimate
            place = "inside" if said["low"] <= points <= said["high"] else "outside"
            lines.append(
                f"  {points:+.1f} points: {place} the {said['low']:+g} to {said['high']:+g} written down before, "
                f"because {said['because']}"
            )
        return "\n".join([*lines, f"  What would change your mind: {self.changes_my_mind}"])

    def _plan(self) -> dict:
        """What a prediction is about; where the file lies and what the run costs may change."""
        free = ("folder", "command", "minutes")
        return json.loads(json.dumps({k: v for k, v in asdict(self).items() if k not in free}))

    def _read(self) -> dict:
        return json.loads(self.path.read_text(encoding="utf-8")) if self.path.is_file() else {}

    def _write(self, state: dict) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        files.write(self.path, json.dumps(state, indent=1, ensure_ascii=False) + "\n")
