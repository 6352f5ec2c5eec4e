"""For the unit tests: no windows; one torch thread, so that results do not depend on the machine; a server at home."""

import re
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import matplotlib
import pytest
import torch

from ssl_lessons.data import download

matplotlib.use("Agg")
torch.set_num_threads(1)
pytest.register_assert_rewrite("exercise_cases")


class Handler(BaseHTTPRequestHandler):
    """Files of `server.files`, with Range unless told otherwise, hanging up after `server.drops[i]` bytes."""

    def do_GET(self):
        server, name = self.server, self.path.rsplit("/", 1)[-1]
        server.paths.append(self.path)
        if server.status:
            return self.send_error(server.status)
        if name not in server.files:
            return self.send_error(404)
        body, start = server.files[name], 0
        asked = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
        if asked and server.ranges:
            start = int(asked[1])
            if start >= len(body):
                self.send_response(416)
                self.send_header("Content-Range", f"bytes */{len(body)}")
                self.end_headers()
                return None
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {start}-{len(body) - 1}/{len(body)}")
        else:
            self.send_response(200)
        self.send_header("Content-Length", str(len(body) - start))
        self.end_headers()
        limit = server.drops.pop(0) if server.drops else None
        sent = body[start:] if limit is None else body[start : start + limit]
        server.sent.append(len(sent))
        self.wfile.write(sent)

    def log_message(self, *args):
        pass


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setattr(download, "WAITS", (0.0, 0.0, 0.0))
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.files, server.paths, server.sent = {}, [], []
    server.ranges, server.drops, server.status = True, [], None
    server.base = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()
