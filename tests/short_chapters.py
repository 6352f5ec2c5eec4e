"""A chapter's text source run statement by statement, with training cut to a few steps and few pictures.

What such short training cannot give (assertions about results, and what follows from them) is passed over; an error
that speaks of devices is not.  For test_chapters_on_a_gpu_a.py and _b.py, which share the chapters among two workers.
"""

import ast
import contextlib
import functools
import importlib
import inspect
import io
import itertools
import pkgutil
import subprocess
import sys
import time
import types
from dataclasses import dataclass, field
from pathlib import Path

import scipy.optimize  # noqa: F401 - what the chapters import is imported here, once for all of them
import sklearn.datasets
import sklearn.decomposition
import sklearn.linear_model
import sklearn.manifold
import sklearn.model_selection  # noqa: F401
import torch
from matplotlib.figure import Figure
from PIL import Image

from ssl_lessons import book, data, diagnostics, evaluation, training, widgets  # noqa: F401
from ssl_lessons.evaluation import probes
from ssl_lessons.models import generative
from ssl_lessons.training import loop

CHAPTERS = sorted((Path(__file__).parents[1] / "chapters").glob("[0-9]*.py"))
STEPS, MANY, BATCH, PICTURES = 3, 200, 64, 256
ABOUT_DEVICES = ("pretended GPU", "cuda", "CUDA", "same device", "should be the same")


# ---- less work ------------------------------------------------------------------------------------------------------


def few_rounds(rounds):
    """The first rounds of a loop that trains."""
    return itertools.islice(rounds, STEPS)


class CutLoops(ast.NodeTransformer):
    """`for ... in rounds:` becomes `for ... in few_rounds(rounds):` where the loop is the innermost one with a backward
    pass in it, and a function's default of thousands of steps becomes MANY."""

    def visit_FunctionDef(self, function: ast.FunctionDef) -> ast.FunctionDef:
        self.generic_visit(function)
        arguments = function.args
        with_default = arguments.args[len(arguments.args) - len(arguments.defaults) :]
        for argument, default in zip(with_default, arguments.defaults, strict=True):
            if argument.arg == "steps" and isinstance(default, ast.Constant):
                default.value = min(default.value, MANY)
        return function

    def visit_For(self, loop: ast.For) -> ast.For:
        self.generic_visit(loop)
        inside = [node for statement in loop.body for node in ast.walk(statement)]
        learns = any(isinstance(node, ast.Attribute) and node.attr in ("backward", "grad") for node in inside)
        if learns and not any(isinstance(node, ast.For) for node in inside):
            name = ast.copy_location(ast.Name("few_rounds", ast.Load()), loop.iter)
            loop.iter = ast.copy_location(ast.Call(name, [loop.iter], []), loop.iter)
        return loop


def short_pretrain(pretrain):
    """`pretrain` of STEPS small steps that looks as long as was asked for: the last row of the history comes again and
    again, and a chapter that looks on after every step (by an `after_step` of its own) does so."""

    @functools.wraps(pretrain)
    def cut(
        method, images, policies, *, steps, batch_size=256, keep_on_device=False, monitor=None, **options
    ):
        if monitor is not None:
            monitor.bank, monitor.query = monitor.bank[:BATCH], monitor.query[:BATCH]
        options |= {"steps": min(steps, STEPS), "batch_size": min(batch_size, BATCH), "monitor": monitor}
        options |= {"progress": False, "keep_on_device": True}
        history = pretrain(method, images, policies, **options)
        if "after_step" in vars(method) or not type(method).__module__.startswith("ssl_lessons"):
            for step in range(len(history), steps):
                method.after_step((step + 1) / steps)
        if not keep_on_device:
            method.to("cpu")
        return history + [history[-1] | {"step": i + 1} for i in range(len(history), steps)]

    return cut


def at_most(limit: int, *names: str):
    """Decorator: these arguments are cut to the limit, numbers by value, tensors to their first rows."""

    def decorate(function):
        signature = inspect.signature(function)

        @functools.wraps(function)
        def cut(*args, **options):
            bound = signature.bind(*args, **options)
            bound.apply_defaults()
            for name in names:
                value = bound.arguments[name]
                bound.arguments[name] = (
                    value[:limit] if isinstance(value, torch.Tensor) else min(value, limit)
                )
            return function(*bound.args, **bound.kwargs)

        return cut

    return decorate


def few_pictures(draw, usual: int):
    """`data.shapes` or `data.digits` that draws PICTURES pictures at most and repeats them; `usual`: unless told."""
    signature = inspect.signature(draw)

    @functools.wraps(draw)
    def cut(*args, **options):
        bound = signature.bind(*args, **options)
        bound.apply_defaults()
        n = bound.arguments["n"] or usual
        bound.arguments["n"] = min(n, PICTURES)
        drawn = draw(*bound.args, **bound.kwargs)
        return drawn[torch.arange(n) % len(drawn)]

    return cut


def blank(figure, file, format="png", **options) -> None:
    """For Figure.savefig: drawing takes longer than all else, and what it draws has left the GPU by then."""
    picture = Image.new("RGBA", figure.canvas.get_width_height())
    file.write(picture.tobytes()) if format in ("raw", "rgba") else picture.save(file, format="png")


class Answered:
    """For the processes of chapter 24, which would not see the pretended GPU: what they print."""

    def __init__(self, *args, **options):
        self.returncode = 0

    def communicate(self, timeout: float) -> tuple[str, str]:
        return "2 0.0", ""


def cut_the_package() -> None:
    loop.pretrain = short_pretrain(loop.pretrain)
    data.shapes, data.digits = few_pictures(data.shapes, 2000), few_pictures(data.digits, 400)
    Figure.savefig = blank
    subprocess.Popen = Answered
    few_rows = at_most(30, "train_x", "train_y", "test_x", "test_y")
    probes.PROBE_CS = probes.PROBE_CS[2:3] * 3
    for module in (evaluation, probes):
        module.linear_probe = few_rows(probes.linear_probe)
        module.label_efficiency = at_most(1, "draws")(evaluation.label_efficiency)
    for name in ("fine_tune", "fine_tune_efficiency"):
        setattr(evaluation, name, at_most(STEPS, "steps")(getattr(evaluation, name)))
    for found in pkgutil.iter_modules(generative.__path__, f"{generative.__name__}."):
        module = importlib.import_module(found.name)
        for name, function in list(vars(module).items()):
            if name.startswith(("train", "invert")) and "steps" in inspect.signature(function).parameters:
                setattr(module, name, at_most(STEPS, "steps")(function))


# ---- running a chapter ----------------------------------------------------------------------------------------------


@dataclass
class Run:
    """What became of the statements: how many ran, which failed (line, error), and the slow ones."""

    ran: int = 0
    passed_over: list[str] = field(default_factory=list)
    about_devices: list[str] = field(default_factory=list)
    slow: list[tuple[float, int]] = field(default_factory=list)

    def failed(self, line: int, error: Exception) -> None:
        inside = error.__traceback__
        while inside.tb_next is not None:
            inside = inside.tb_next
        place = f"{Path(inside.tb_frame.f_code.co_filename).name}:{inside.tb_lineno}"
        text = f"line {line} ({place}): {type(error).__name__}: {' '.join(str(error).split())[:300]}"
        if any(words in str(error) for words in ABOUT_DEVICES) and not isinstance(error, AssertionError):
            self.about_devices.append(text)
        elif not isinstance(error, AssertionError):
            self.passed_over.append(text)


def run_chapter(path: Path) -> Run:
    module = types.ModuleType(f"chapter_{path.stem}")
    module.__file__ = str(path)
    sys.modules[module.__name__] = module
    module.few_rounds, run = few_rounds, Run()
    tree = CutLoops().visit(ast.parse(path.read_text(encoding="utf-8")))
    for statement in tree.body:
        start = time.perf_counter()
        code = compile(ast.Module([statement], []), str(path), "exec")
        try:
            with contextlib.redirect_stdout(io.StringIO()):
                exec(code, vars(module))
            run.ran += 1
        except Exception as error:  # noqa: BLE001 - sorted into those that matter here and those that do not
            run.failed(statement.lineno, error)
        run.slow.append((time.perf_counter() - start, statement.lineno))
    return run


def check_chapter(chapter: str) -> None:
    """AssertionError where a statement fails for a device, or where so many fail that nothing can be said."""
    path = next(path for path in CHAPTERS if path.stem == chapter)
    cut_the_package()
    with contextlib.chdir(path.parent):
        run = run_chapter(path)
    for seconds, line in sorted(run.slow, reverse=True)[:5]:
        print(f"{seconds:5.1f} s  line {line}")
    print(f"{run.ran} statements ran; passed over:", *run.passed_over, sep="\n  ")
    assert not run.about_devices, "\n".join([f"chapter {chapter}", *run.about_devices])
    assert len(run.passed_over) <= run.ran // 20, "too little of the chapter was run to say anything"
