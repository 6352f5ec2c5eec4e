"""How an exercise is checked: same inputs to the reader's function and to the reference, then a diagnosis.

Every named mistake is itself a small wrong function. When the reader's answers equal those of a mistake on
all inputs, the verdict names it; otherwise it shows the first value that differs.
"""

from __future__ import annotations

import contextlib
import html
import io
import math
from collections.abc import Callable
from dataclasses import dataclass
from numbers import Real

import numpy as np
import torch
from torch import Tensor


class _NotAttempted:
    def __repr__(self) -> str:
        return "NOT_ATTEMPTED"


NOT_ATTEMPTED = _NotAttempted()
"""What the stub of an exercise returns until the reader replaces it."""

_LOOK = {True: ("✓", "#009E73"), False: ("✗", "#D55E00"), None: ("○", "#767676")}


@dataclass(frozen=True, repr=False)
class Check:
    """The verdict on an exercise; a notebook shows it as one line.

    passed: True, False, or None when not attempted.  message: what is right, or what is wrong.
    """

    passed: bool | None
    message: str

    def __repr__(self) -> str:
        return f"{_LOOK[self.passed][0]} {self.message}"

    def _repr_html_(self) -> str:
        mark, color = _LOOK[self.passed]
        return f'<b style="color:{color}">{mark}</b> {html.escape(self.message)}'

    def require(self) -> None:
        """Raise AssertionError with the message unless the exercise is solved: what an autograder understands."""
        if not self.passed:
            raise AssertionError(self.message)


@contextlib.contextmanager
def quietly():
    """Keep what is written to stderr away: nbgrader gives no points to a cell that writes there, be it a warning."""
    with contextlib.redirect_stderr(io.StringIO()):
        yield


NOT_YET = Check(None, "not attempted yet")


def judge_forecast(forecast: object, measure: Callable[[], float], near: float = 2.0) -> Check:
    """A difference that the reader says before it is measured; nothing runs without a forecast.

    forecast: points; measure: the run, in points; near: a forecast is right if it is no farther off.
    """
    if forecast is NOT_ATTEMPTED:
        return NOT_YET
    numbers = int | float | np.integer | np.floating
    if isinstance(forecast, bool) or not isinstance(forecast, numbers) or not math.isfinite(forecast):
        return Check(False, "forecast one number, in points")
    found = measure()
    told = f"you said {forecast:+.1f}, the run says {found:+.1f} points"
    if abs(forecast - found) <= near:
        return Check(True, f"correct: {told}")
    if forecast == 0:
        return Check(False, f"you said no difference: {told}")
    if forecast * found < 0:
        return Check(False, f"the other way round: {told}")
    return Check(False, f"the direction is right, the size is not: {told}")


class Stop(Exception):
    """Ends a check early with a verdict: `check` is what the reader sees."""

    def __init__(self, check: Check):
        self.check = check


def failed(message: str) -> Stop:
    return Stop(Check(False, message))


@dataclass(frozen=True)
class Exercise:
    """One function to write, and how to judge it.

    sample: generator -> list of argument tuples (float64 tensors, numbers).  reference: the right function.
    mistakes: (what is wrong, the wrong function).  hint: (inputs, answers) -> what is wrong, or None, for
    mistakes known by a property rather than by their values.  praise: what to say when all is right.
    """

    sample: Callable[[torch.Generator], list[tuple]]
    reference: Callable
    mistakes: tuple[tuple[str, Callable], ...]
    hint: Callable[[list[tuple], list[Tensor]], str | None] = lambda inputs, answers: None
    praise: str = ""

    def inputs(self) -> list[tuple]:
        """The argument tuples of every check: always the same ones."""
        return self.sample(torch.Generator().manual_seed(0))

    def check(self, fn: Callable) -> Check:
        """The verdict on `fn`; never raises for anything that `fn` does."""
        inputs = self.inputs()
        expected = [self.reference(*args) for args in inputs]
        try:
            answers = [answer(fn, args, like=e) for args, e in zip(inputs, expected, strict=True)]
        except Stop as stop:
            return stop.check
        expected = [_tensor(e) for e in expected]
        if all(map(same, answers, expected)):
            return Check(True, f"correct {self.praise}".strip())
        for message, wrong in self.mistakes:
            if all(same(a, _tensor(wrong(*args))) for a, args in zip(answers, inputs, strict=True)):
                return Check(False, message)
        return Check(False, self.hint(inputs, answers) or _difference(inputs, answers, expected))


def call(fn: Callable, args: tuple):
    """`fn(*args)` on copies of the arguments; raises Stop when it fails, is a stub or changes its inputs."""
    if fn is NOT_ATTEMPTED:
        raise Stop(NOT_YET)
    if not callable(fn):
        raise failed(f"pass the function itself, without calling it; got {_article(fn)}")
    copies = tuple(_clone(a) for a in args)
    try:
        value = fn(*copies)
    except NotImplementedError:
        raise Stop(NOT_YET) from None
    except Exception as error:  # noqa: BLE001 - whatever the reader's code raises is an answer, not a crash
        raise failed(f"your function raises {type(error).__name__}: {error} ({describe(args)})") from None
    if value is NOT_ATTEMPTED:
        raise Stop(NOT_YET)
    for position, (copy, original) in enumerate(zip(copies, args, strict=True), start=1):
        if isinstance(original, Tensor) and not torch.equal(copy, original):
            raise failed(f"your function changes its argument {position} in place; work on a copy instead")
    return value


def judge(fn: Callable, cases, guilty: str, ask: str) -> Check:
    """The verdict on `fn`, a test that the reader wrote: fn(object) -> bool.

    cases: (name, object, whether the answer is yes).  guilty: what is true of an object of which the answer is yes.
    ask: what to look at, for a reader whose answer is wrong.
    """
    for name, thing, yes in cases:
        try:
            said = call(fn, (thing,))
        except Stop as stop:
            if stop.check.passed is None:
                return stop.check
            return Check(False, f"with {name}: {stop.check.message}")
        said = said.item() if isinstance(said, Tensor) and said.numel() == 1 else said
        if not (isinstance(said, bool | int | float) and said in (0, 1)):
            return Check(False, "return True or False")
        if bool(said) != yes:
            verdict = f"{guilty}, and you pass it" if yes else "is sound, and you refuse it"
            return Check(False, f"{name} {verdict}: {ask}")
    return Check(True, f"correct: all {len(cases)} told, and no step of training")


def answer(fn: Callable, args: tuple, like) -> Tensor:
    """The answer of `fn` as a float64 tensor; raises Stop unless it is of the same type as `like`."""
    value = call(fn, args)
    if value is None:
        raise failed("your function returns None; is the return statement missing?")
    if isinstance(like, tuple):
        if getattr(value, "ndim", None) == 1:  # a tensor or an array of as many numbers will do
            value = value.tolist()
        good = isinstance(value, tuple | list) and len(value) == len(like) and all(map(_is_number, value))
        wanted = f"a tuple of {len(like)} numbers"
    elif isinstance(like, Tensor) and like.ndim:
        good, wanted = isinstance(value, Tensor), "a torch.Tensor"
    else:
        good, wanted = isinstance(value, Tensor) or _is_number(value), "one number"
    if not good:
        raise failed(f"your function returns {_article(value)}; it should return {wanted}")
    return _tensor(value)


def same(a: Tensor, b: Tensor) -> bool:
    """Equal shapes and values, as far as a float32 solution can tell."""
    return a.shape == b.shape and bool(_close(a, b).all())


def _close(a: Tensor, b: Tensor) -> Tensor:
    """Place by place; an infinity is close to itself only."""
    return torch.isclose(a, b, rtol=1e-4, atol=1e-5, equal_nan=True)


def describe(args: tuple) -> str:
    """The inputs in a few words: shapes of tensors, values of numbers."""
    shown = (
        str(list(a.shape)) if isinstance(a, Tensor) and a.ndim else f"{a:.4g}"
        for a in args
        if isinstance(a, Tensor | Real)
    )
    return "inputs " + ", ".join(shown)


def _difference(inputs: list[tuple], answers: list[Tensor], expected: list[Tensor]) -> str:
    for args, got, want in zip(inputs, answers, expected, strict=True):
        if got.shape != want.shape:
            wanted = f"instead of {list(want.shape)}" if want.ndim else "instead of one number"
            return f"shape {list(got.shape)} {wanted} ({describe(args)})"
        if same(got, want):
            continue
        if want.isfinite().all() and not got.isfinite().all():
            return f"the result holds NaN or infinite values ({describe(args)})"
        index = (~_close(got, want)).nonzero()[0].tolist()
        place = f" at {index}" if index else ""
        return (
            f"got {got[tuple(index)].item():.5g} instead of {want[tuple(index)].item():.5g}{place}, "
            f"the first difference ({describe(args)})"
        )
    raise AssertionError("only called when some answer differs")


def _clone(value):
    return value.clone() if isinstance(value, Tensor) else value


def _is_number(value) -> bool:
    is_scalar = isinstance(value, Tensor) and value.ndim == 0
    return is_scalar or (isinstance(value, Real) and not isinstance(value, bool))


def _tensor(value) -> Tensor:
    if isinstance(value, Tensor):
        return value.detach().cpu().double()
    numbers = [float(v) for v in value] if isinstance(value, tuple | list) else float(value)
    return torch.tensor(numbers, dtype=torch.float64)


def _article(value) -> str:
    kind = type(value)
    name = kind.__name__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__name__}"
    return f"{'an' if name[0] in 'aeiou' else 'a'} {name}"
