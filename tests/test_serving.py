"""Both servers started for real, on free ports of the loopback, asked over HTTP, and stopped whatever happens."""

import concurrent.futures
import contextlib
import http.client
import os
import socket
import subprocess
import sys
import time

import numpy as np
import pytest
from test_deployment import PHOTO, encoded, png_that_claims, small_classifier

from ssl_lessons import data
from ssl_lessons.deployment import process, torchserve
from ssl_lessons.deployment.bundle import load_bundle
from ssl_lessons.deployment.export import make_bundle
from ssl_lessons.deployment.pictures import MAX_BYTES

NEEDED = ("onnx", "onnxscript", "onnxruntime", "starlette", "uvicorn")


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    """A small classifier that is right about most pictures, as an int8 bundle; with the test split."""
    for package in NEEDED:
        pytest.importorskip(package, reason=f"{package} is missing: uv run --group serve pytest")
    encoder, probe, train = small_classifier()
    test = data.shapes("test", 32, 300)
    folder = make_bundle(
        encoder, probe, tmp_path_factory.mktemp("serving") / "bundle", classes=train.classes, size=32,
        calibration=data.shapes("unlabeled", 32, 256).images,
    )  # fmt: skip
    return folder, test


@pytest.fixture(scope="module", params=process.SERVERS)
def server(request, bundle, tmp_path_factory):
    if request.param == "torchserve" and (reason := torchserve.missing()):
        pytest.skip(reason)
    with process.serve(request.param, bundle[0], tmp_path_factory.mktemp(request.param)) as client:
        client_and_name = (client, request.param)
        yield client_and_name


def picture(image, kind: str) -> bytes:
    return encoded(image.permute(1, 2, 0).numpy(), kind, **({"quality": 95} if kind == "JPEG" else {}))


@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
def test_the_right_class_for_the_right_image(server, bundle, kind):
    client, _ = server
    folder, test = bundle
    here = load_bundle(folder)
    right = 0
    with contextlib.closing(client.connect()) as connection:
        for image, label in zip(test.images[:50], test.labels[:50], strict=True):
            body = picture(image, kind)
            status, said = client.send(connection, body, f"image/{kind.lower()}")
            assert status == 200
            assert said["class"] == here.classify(body)["class"] and said["model"] == here.digest[:12]
            assert said["probability"] == pytest.approx(here.classify(body)["probability"], abs=1e-5)
            right += said["class"] == test.classes[label]
    assert right >= 30  # chance is 5


def test_a_large_photograph(server):
    status, said = server[0].post(
        encoded(np.kron(PHOTO, np.ones((16, 16, 1), np.uint8)), "JPEG"), "image/jpeg"
    )
    assert status == 200 and 0 < said["probability"] <= 1


BAD = {
    "empty": (b"", "image/png", {400}),
    "text": (b"hello", "image/png", {400}),
    "cut PNG": (encoded(PHOTO)[:500], "image/png", {400}),
    "cut JPEG": (encoded(PHOTO, "JPEG")[:500], "image/jpeg", {400}),
    "GIF under a false name": (encoded(PHOTO, "GIF"), "image/png", {400}),
    "wrong type": (encoded(PHOTO), "application/json", {400, 415}),
    "text type": (b"hello", "text/plain", {415}),
    "bomb": (png_that_claims(50_000), "image/png", {400, 413}),
    "bomb just over the limit": (png_that_claims(4_097), "image/png", {400, 413}),
    "huge": (b"\0" * (MAX_BYTES + 2**20), "image/png", {413}),
}


@pytest.mark.parametrize("name", BAD)
def test_what_cannot_be_answered_is_refused_and_the_server_lives_on(server, name):
    client, _ = server
    body, content_type, statuses = BAD[name]
    try:
        assert client.post(body, content_type)[0] in statuses
    except (BrokenPipeError, ConnectionResetError):  # it hung up in the middle of a body it does not want
        assert name == "huge"
    assert client.ping() == 200
    assert client.post(encoded(PHOTO))[0] == 200


def test_a_body_without_a_length_is_not_read_forever(server):
    client, name = server

    def endless():
        for _ in range(4 * MAX_BYTES // 2**16):
            yield b"\0" * 2**16

    try:
        status, _ = client.post(endless(), "image/png")
        assert 400 <= status < 500
    except (BrokenPipeError, ConnectionResetError):
        pass
    assert client.ping() == 200 and client.post(encoded(PHOTO))[0] == 200


@pytest.mark.parametrize(
    "raw",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + os.urandom(64),  # TLS to a port that speaks none
        b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Length: -5\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\nX: " + b"a" * 200_000 + b"\r\n\r\n",
        b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Type: image/png\r\nContent-Length: 1000\r\n\r\nshort",
    ],
    ids=["tls", "negative length", "endless header", "half a body"],
)
def test_bytes_that_are_hardly_http(server, raw):
    client, _ = server
    with (
        contextlib.suppress(OSError),
        socket.create_connection(("127.0.0.1", client.port), timeout=5) as raw_socket,
    ):
        raw_socket.sendall(raw)
        raw_socket.shutdown(socket.SHUT_WR)
        reply = raw_socket.recv(200)
        assert b" 200 " not in reply.split(b"\r\n")[0]
    assert client.ping() == 200 and client.post(encoded(PHOTO))[0] == 200


def test_other_paths_and_methods(server):
    client, _ = server
    for method, path in [("GET", "/nothing-here"), ("DELETE", client.path), ("GET", "/../../etc/passwd")]:
        with contextlib.closing(client.connect()) as connection:
            connection.request(method, path, headers=client.headers)
            assert 400 <= process.answer(connection.getresponse())[0] < 500, (method, path)


def test_many_at_once_are_all_answered(server, bundle):
    client, _ = server
    folder, test = bundle
    here = load_bundle(folder)
    bodies = [picture(image, "PNG") for image in test.images[:40]]
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(client.post, bodies))
    assert [(status, said["class"]) for status, said in answers] == [
        (200, here.classify(b)["class"]) for b in bodies
    ]


def test_torchserve_wants_its_token_and_keeps_its_doors_shut(server, bundle):
    client, name = server
    if name != "torchserve":
        pytest.skip("about TorchServe")
    for headers in ({}, {"Authorization": "Bearer wrong"}):
        assert 400 <= client._replace(headers=headers).post(encoded(PHOTO))[0] < 500
    management = client._replace(port=client.port + 1)
    with contextlib.closing(management.connect()) as connection:
        connection.request("POST", "/models?url=http://127.0.0.1:9/evil.mar", headers=client.headers)
        assert 400 <= process.answer(connection.getresponse())[0] < 500


def listening(port: int) -> list[str]:
    """Addresses on which somebody listens at this port (Linux)."""
    found = []
    for file in ("/proc/net/tcp", "/proc/net/tcp6"):
        for line in open(file).readlines()[1:]:
            address, state = line.split()[1], line.split()[3]
            host, number = address.rsplit(":", 1)
            if state == "0A" and int(number, 16) == port:
                found.append(host)
    return found


@pytest.mark.skipif(not os.path.exists("/proc/net/tcp"), reason="needs Linux")
def test_they_listen_on_the_loopback_only(server):
    client, name = server
    loopback = {"0100007F", "0" * 24 + "01000000", "0" * 16 + "FFFF0000" + "0100007F"}
    ports = [client.port] if name == "starlette" else [client.port + i for i in (0, 1, 3, 4, 10)]
    for port in ports:
        assert set(listening(port)) <= loopback, (port, listening(port))
    assert listening(client.port)


def test_a_slow_body_is_given_up(bundle, monkeypatch):
    """In this process, so that the patience can be shortened."""
    import asyncio

    from ssl_lessons.deployment import server as module

    monkeypatch.setattr(module, "BODY_SECONDS", 0.2)
    messages = []

    async def receive():
        await asyncio.sleep(5)

    async def send(message):
        messages.append(message)

    scope = {
        "type": "http", "method": "POST", "path": "/predict", "query_string": b"", "http_version": "1.1",
        "headers": [(b"content-type", b"image/png")], "raw_path": b"/predict", "scheme": "http", "root_path": "",
    }  # fmt: skip
    start = time.monotonic()
    asyncio.run(module.create_app(load_bundle(bundle[0]))(scope, receive, send))
    assert messages[0]["status"] == 408 and time.monotonic() - start < 3


def test_a_damaged_bundle_does_not_start(bundle, tmp_path):
    import shutil

    copy = tmp_path / "bundle"
    shutil.copytree(bundle[0], copy)
    content = bytearray((copy / "model.onnx").read_bytes())
    content[1000] ^= 1
    (copy / "model.onnx").write_bytes(content)
    command = [sys.executable, "-m", "ssl_lessons.deployment.server", str(copy)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 1 and "damaged" in done.stderr and "Traceback" not in done.stderr


def test_once_it_answers_it_says_where_and_how_to_ask(bundle, tmp_path):
    with process.serve("starlette", bundle[0], tmp_path) as client:
        said = (tmp_path / "server.log").read_text()
    address = f"http://127.0.0.1:{client.port}/predict"
    assert said.startswith(f"{address} answers pictures (Ctrl-C stops it).")
    assert f'curl --data-binary @picture.png -H "Content-Type: image/png" {address}' in said


def test_a_port_that_is_taken_is_named(bundle):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        command = [sys.executable, "-m", "ssl_lessons.deployment.server", str(bundle[0]), "--port", port]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode and "answers" not in done.stdout
    assert port in done.stderr and "in use" in done.stderr


def test_nothing_is_left_running(bundle, tmp_path):
    with process.serve("starlette", bundle[0], tmp_path) as client:
        assert client.ping() == 200
        with contextlib.suppress(http.client.HTTPException):
            client.post(encoded(PHOTO))
    assert client.ping() == 0
