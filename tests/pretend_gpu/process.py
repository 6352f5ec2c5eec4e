"""Tests on the pretended GPU: each in a process of its own, since a process cannot be brought back.

Imports take seconds.  So one process does them, pretends, and forks for every test; it ends with the test run.
"""

from __future__ import annotations

import functools
import importlib.util
import json
import os
import subprocess
import sys
import tempfile
import traceback
from pathlib import Path

import pytest
import torch

HERE = Path(__file__).resolve().parent


def on_a_gpu(test):
    """Decorator: run the test function in a new process that sees the pretended GPU.

    Its arguments must be what JSON can say; it finds its file's functions, but no fixtures.  What it prints is shown
    when it fails.
    """

    @functools.wraps(test)
    def start(**arguments):
        import pretend_gpu

        if pretend_gpu.installed:
            return test(**arguments)
        if reason := pretend_gpu.missing():
            pytest.skip(reason)
        with tempfile.NamedTemporaryFile("r") as output:
            code = _ask(test.__code__.co_filename, test.__name__, arguments, output.name)
            if code:
                pytest.fail(f"exit code {code}\n{output.read()[-8000:]}", pytrace=False)

    return start


def each(things: dict, check) -> None:
    """check(name, value) for every entry; a line for each, and in the end AssertionError with the names that failed."""
    failed = []
    for name, value in things.items():
        try:
            check(name, value)
        except Exception:  # noqa: BLE001 - whatever it is, the others are checked as well
            failed.append(name)
            print(f"FAILED {name}: {traceback.format_exc(limit=-6)}", flush=True)
        else:
            print(f"passed {name}", flush=True)
    assert not failed, f"failed on the pretended GPU: {', '.join(failed)}"


# ---- the process that forks ---------------------------------------------------------------------------------


@functools.cache
def _server() -> subprocess.Popen:
    path = os.pathsep.join(filter(None, [str(HERE.parent), os.environ.get("PYTHONPATH")]))
    return subprocess.Popen(
        [sys.executable, "-m", "pretend_gpu", "--serve"],
        env=os.environ | {"PYTHONPATH": path, "MPLBACKEND": "Agg"},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def _ask(*request) -> int:
    """Let the server run a test; its exit code."""
    server = _server()
    print(json.dumps(request), file=server.stdin, flush=True)
    answer = server.stdout.readline()
    return int(answer) if answer else server.wait()


def serve() -> None:
    """Answer every request (file, function, arguments, file for the output), one a line, with an exit code."""
    torch.optim.SGD([torch.zeros(1)], 0.1)  # imports PyTorch's compiler, which takes long: here, once
    for line in sys.stdin:
        file, function, arguments, output = json.loads(line)
        try:
            module = _load(file)  # here, so that the next test finds its imports done
        except Exception:  # noqa: BLE001 - it is the test that failed
            Path(output).write_text(traceback.format_exc())
            print(1, flush=True)
            continue
        child = os.fork()
        if child == 0:
            _run(getattr(module, function), arguments, output)
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)


@functools.cache
def _load(file: str):
    spec = importlib.util.spec_from_file_location(Path(file).stem, file)
    module = sys.modules[spec.name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _run(function, arguments: dict, output: str):
    """In the child: never returns."""
    descriptor = os.open(output, os.O_WRONLY)
    for stream in (1, 2):
        os.dup2(descriptor, stream)
    code = 0
    try:
        function(**arguments)
    except BaseException:  # noqa: BLE001 - also SystemExit and pytest's own
        traceback.print_exc()
        code = 1
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)
