"""Start a server as a process of its own, ask it, and stop it whatever happens: for tests and benchmarks."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from ssl_lessons.deployment import torchserve
from ssl_lessons.errors import InputError

SERVERS = ("starlette", "torchserve")


class Client(NamedTuple):
    """Where a server listens and what it must be told with each request."""

    port: int
    path: str
    headers: dict[str, str]

    def connect(self, timeout: float = 30) -> http.client.HTTPConnection:
        """A connection that several requests can use one after the other."""
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=timeout)

    def send(
        self, connection: http.client.HTTPConnection, body, content_type: str | None
    ) -> tuple[int, dict]:
        """POST one picture; status and answer ({} when the answer is no JSON)."""
        headers = self.headers | ({"Content-Type": content_type} if content_type else {})
        connection.request("POST", self.path, body=body, headers=headers)
        return answer(connection.getresponse())

    def post(self, body, content_type: str | None = "image/png", timeout: float = 30) -> tuple[int, dict]:
        """POST one picture on a connection of its own."""
        with contextlib.closing(self.connect(timeout)) as connection:
            return self.send(connection, body, content_type)

    def ping(self) -> int:
        """Status of GET /ping, or 0 while nobody listens."""
        with contextlib.closing(self.connect(5)) as connection:
            try:
                connection.request("GET", "/ping", headers=self.headers)
                return answer(connection.getresponse())[0]
            except (OSError, http.client.HTTPException):
                return 0


def answer(response: http.client.HTTPResponse) -> tuple[int, dict]:
    """Status and JSON content of a response."""
    content = response.read()
    try:
        return response.status, json.loads(content)
    except ValueError:
        return response.status, {}


def free_ports(count: int) -> int:
    """The first of `count` consecutive ports of the loopback that nobody uses right now."""
    for _ in range(100):
        with contextlib.ExitStack() as stack:
            try:
                first = stack.enter_context(socket.create_server(("127.0.0.1", 0))).getsockname()[1]
                for port in range(first + 1, first + count):
                    stack.enter_context(socket.create_server(("127.0.0.1", port)))
            except (OSError, OverflowError):
                continue
            return first
    raise InputError(f"no {count} free ports in a row were found on the loopback; stop some servers")


@contextlib.contextmanager
def serve(kind: str, bundle: str | Path, work: str | Path, patience: float = 60) -> Iterator[Client]:
    """Start the server `kind` (one of SERVERS) for a bundle on free ports, wait until it answers, and stop it.

    work: a folder for its log (server.log) and other files.  patience: seconds until it must answer.  The server and
    all its children are one process group, which is ended, if need be by force, when the block is left.  Raises
    InputError, with the end of the log, when it does not come up.
    """
    work = Path(work).absolute()
    work.mkdir(parents=True, exist_ok=True)
    port = free_ports(11 if kind == "torchserve" else 1)
    if kind == "torchserve":
        command, client = torchserve.prepare(bundle, work, port), None
        env = torchserve.environment(work)
    else:
        command = [
            sys.executable,
            "-m",
            "ssl_lessons.deployment.server",
            str(Path(bundle).absolute()),
            "--port",
            str(port),
        ]
        client, env = Client(port, "/predict", {}), {**os.environ, "OMP_NUM_THREADS": "1"}
    with open(work / "server.log", "w") as log:
        process = subprocess.Popen(
            command,
            cwd=work,
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
            umask=0o077,
        )
        try:
            deadline = time.monotonic() + patience
            while True:
                client = client or _torchserve_client(work, port)
                if client and client.ping() == 200 and _ready(kind, client):
                    break
                if process.poll() is not None or time.monotonic() > deadline:
                    tail = (work / "server.log").read_text(errors="replace")[-1500:]
                    raise InputError(
                        f"{kind} did not come up within {patience:g} s; the end of its log:\n{tail}"
                    )
                time.sleep(0.1)
            yield client
        finally:
            _stop(process)


def _torchserve_client(work: Path, port: int) -> Client | None:
    """TorchServe writes its tokens while it starts."""
    try:
        token = json.loads((work / "key_file.json").read_text())["inference"]["key"]
    except (OSError, ValueError, KeyError):
        return None
    return Client(port, f"/predictions/{torchserve.NAME}", {"Authorization": f"Bearer {token}"})


def _ready(kind: str, client: Client) -> bool:
    """TorchServe is "healthy" before its worker has loaded the model; until then predictions are answered with 503."""
    return kind != "torchserve" or client.post(b"", "image/png")[0] == 400


def _stop(process: subprocess.Popen) -> None:
    for kind, seconds in ((signal.SIGTERM, 10), (signal.SIGKILL, 10)):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, kind)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(seconds)
            break
    with contextlib.suppress(ProcessLookupError):  # children that outlived their parent
        os.killpg(process.pid, signal.SIGKILL)
