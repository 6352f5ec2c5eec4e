"""A bundle over HTTP, with Starlette and uvicorn.  Without torch.

    uv run --group serve ssl-lessons serve runs/bundle --port 8000
    curl --data-binary @picture.png -H "Content-Type: image/png" http://127.0.0.1:8000/predict

It listens on this machine only, knows no passwords and speaks no TLS: to be reached from outside it belongs behind a
proxy that does both.  POST /predict takes the bytes of one PNG or JPEG; GET /ping says that it is alive, and as what.
"""

from __future__ import annotations

import argparse
import asyncio
import sys

import anyio
import uvicorn
from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from ssl_lessons.deployment.bundle import Bundle, load_bundle
from ssl_lessons.deployment.pictures import MAX_BYTES, Refused, check_type
from ssl_lessons.errors import InputError

BODY_SECONDS = 10  # for the whole body to arrive
AT_ONCE = 2  # pictures decoded at a time: this bounds the memory
CONNECTIONS = 64  # more are told 503


async def read_body(request: Request) -> bytes:
    """The body; Refused when it is too long (413) or too slow (408), whatever Content-Length says.

    What is too long is not kept; up to twice the limit it is still read, so that the sender gets to hear why.
    """
    body, length = bytearray(), 0
    try:
        async with asyncio.timeout(BODY_SECONDS):
            async for chunk in request.stream():
                length += len(chunk)
                if length <= MAX_BYTES:
                    body += chunk
                elif length > 2 * MAX_BYTES:
                    break
    except TimeoutError:
        raise Refused(408, f"the body did not arrive within {BODY_SECONDS} s") from None
    except ClientDisconnect:
        raise Refused(400, "the connection was closed in the middle of the body") from None
    if length > MAX_BYTES:
        raise Refused(413, f"the body has more than {MAX_BYTES} bytes")
    return bytes(body)


def create_app(bundle: Bundle) -> Starlette:
    """The application: POST /predict, GET /ping."""
    limiter = anyio.CapacityLimiter(AT_ONCE)

    async def predict(request: Request) -> JSONResponse:
        check_type(request.headers.get("content-type"))
        body = await read_body(request)
        return JSONResponse(await anyio.to_thread.run_sync(bundle.classify, body, limiter=limiter))

    async def ping(request: Request) -> JSONResponse:
        card = bundle.card
        return JSONResponse({"status": "healthy", "model": bundle.digest[:12], "precision": card.precision})

    async def refuse(request: Request, error: Refused) -> JSONResponse:
        # What is left of a refused body is not read: the connection ends with the answer.
        return JSONResponse({"error": str(error)}, error.status, headers={"Connection": "close"})

    routes = [Route("/predict", predict, methods=["POST"]), Route("/ping", ping)]
    return Starlette(routes=routes, exception_handlers={Refused: refuse})


def main(arguments: list[str] | None = None) -> None:
    """`python -m ssl_lessons.deployment.server BUNDLE [--port 8000]`"""
    parser = argparse.ArgumentParser(description="Serve a bundle over HTTP on this machine.")
    parser.add_argument("bundle", help="a folder written by `ssl-lessons export`")
    parser.add_argument(
        "--host", default="127.0.0.1", help="address to listen on (default: this machine only)"
    )
    parser.add_argument("--port", type=int, default=8000, help="default: 8000")
    options = parser.parse_args(arguments)
    try:
        bundle = load_bundle(options.bundle)
    except InputError as error:
        sys.exit(str(error))
    config = uvicorn.Config(
        create_app(bundle), host=options.host, port=options.port, log_level="warning", access_log=False,
        limit_concurrency=CONNECTIONS, timeout_keep_alive=5, timeout_graceful_shutdown=5, server_header=False,
    )  # fmt: skip
    server = _Server(config)
    try:
        server.run()
    except KeyboardInterrupt:  # it has shut down in good order
        pass
    if not server.started:
        sys.exit(3)  # why has been printed, such as a port that is taken


class _Server(uvicorn.Server):
    """Says where it listens once it does: before that there is nothing to ask, and silence looks like a hang."""

    async def startup(self, sockets=None) -> None:
        await super().startup(sockets)
        if self.started:
            address = f"http://{self.config.host}:{self.config.port}/predict"
            print(f"{address} answers pictures (Ctrl-C stops it).  From another terminal:")
            print(f'curl --data-binary @picture.png -H "Content-Type: image/png" {address}', flush=True)


if __name__ == "__main__":
    main()
