"""What TorchServe calls for a request: a thin layer between its conventions and a Bundle."""

from __future__ import annotations

from ssl_lessons.deployment.bundle import load_bundle
from ssl_lessons.deployment.pictures import Refused, check_type


class Handler:
    """TorchServe makes one per worker, calls initialize(context) once, then handle(requests, context)."""

    def initialize(self, context) -> None:
        self.bundle = load_bundle(context.system_properties["model_dir"])

    def handle(self, requests: list[dict], context) -> list[dict]:
        """One answer per request.  The archive is configured for one request at a time, so a refusal hits its own."""
        from ts.utils.util import PredictionException

        try:
            return [
                self._answer(request, context.get_all_request_header(i)) for i, request in enumerate(requests)
            ]
        except Refused as refusal:
            # A worker's 413 is told to the client as 507, the server's own fault.
            raise PredictionException(
                str(refusal), 400 if refusal.status == 413 else refusal.status
            ) from None

    def _answer(self, request: dict, headers: dict) -> dict:
        # Among the headers TorchServe lists the parameters of the request, whose values are no strings.
        texts = {name.lower(): value for name, value in headers.items() if isinstance(value, str)}
        check_type(texts.get("content-type"))
        body = request.get("body")
        return self.bundle.classify(bytes(body) if isinstance(body, (bytes, bytearray)) else b"")
