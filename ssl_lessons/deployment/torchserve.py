"""A bundle over HTTP, with TorchServe: packing, a configuration that keeps to this machine, and the start.

    uv run --group serve --group torchserve python -m ssl_lessons.deployment.torchserve runs/bundle --port 8080
    token=$(python -c "import json; print(json.load(open('runs/torchserve/key_file.json'))['inference']['key'])")
    curl --data-binary @picture.png -H "Content-Type: image/png" -H "Authorization: Bearer $token" \\
        http://127.0.0.1:8080/predictions/ssl_lessons

TorchServe's repository was archived on 7 August 2025: no fixes and no security patches are planned.  It is here because
you will meet it, and because the course's source asks for it; for a service of your own take `server`.  It needs Java.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

from ssl_lessons.deployment import torchserve_handler
from ssl_lessons.deployment.bundle import CARD, MODEL, SUMS, load_bundle
from ssl_lessons.deployment.pictures import MAX_BYTES
from ssl_lessons.errors import InputError
from ssl_lessons.storage import write_atomically

NAME = "ssl_lessons"
PACKAGE = Path(torchserve_handler.__file__).parents[1]


def missing() -> str | None:
    """Why TorchServe cannot run here, or None."""
    if find_spec("ts") is None or find_spec("model_archiver") is None:
        return "torchserve and torch-model-archiver are missing: run this with `uv run --group torchserve`"
    if shutil.which("java") is None and "JAVA_HOME" not in os.environ:
        return "TorchServe needs Java (11 or newer), and there is no java on this machine"
    return None


def configuration(port: int, management: int, metrics: int, grpc: tuple[int, int], worker: int) -> str:
    """config.properties: every address on the loopback, tokens on, model control off, nothing fetched, one worker."""
    lines = {
        "inference_address": f"http://127.0.0.1:{port}",
        "management_address": f"http://127.0.0.1:{management}",
        "metrics_address": f"http://127.0.0.1:{metrics}",
        "grpc_inference_address": "127.0.0.1",
        "grpc_management_address": "127.0.0.1",
        "grpc_inference_port": grpc[0],
        "grpc_management_port": grpc[1],
        "initial_worker_port": worker,
        "disable_token_authorization": "false",
        "enable_model_api": "false",
        "enable_envvars_config": "false",
        "install_py_dep_per_model": "false",
        "allowed_urls": "file://none",
        "max_request_size": MAX_BYTES,
        "limit_max_image_pixels": "true",
        "default_workers_per_model": 1,
        "default_response_timeout": 30,
        "disable_system_metrics": "true",
        "enable_metrics_api": "false",
        "number_of_gpu": 0,
    }
    return "".join(f"{name}={value}\n" for name, value in lines.items())


def prepare(bundle: str | Path, work: str | Path, port: int = 8080) -> list[str]:
    """Write model store and configuration into `work`; return the command that starts TorchServe, to be run there.

    Ports: `port` for predictions; port+1 management, port+2 metrics, port+3 and +4 gRPC, port+10 the worker.
    TorchServe writes the tokens to `work`/key_file.json, so the folder is made readable to its owner alone.
    Raises InputError for a damaged bundle, and when TorchServe or Java is missing.
    """
    if reason := missing():
        raise InputError(reason)
    load_bundle(bundle)  # refuses a damaged one now, not in a worker's log
    work = Path(work).absolute()
    store = work / "store"
    settings = work / "config.properties"
    lines = configuration(port, port + 1, port + 2, (port + 3, port + 4), port + 10)
    write_atomically(settings, lambda path: path.write_text(lines))
    work.chmod(0o700)
    store.mkdir(exist_ok=True)
    extra = ",".join(str(Path(bundle, name).absolute()) for name in (MODEL, CARD, SUMS))
    subprocess.run(
        [
            sys.executable, "-m", "model_archiver.model_packaging", "--model-name", NAME, "--version", "1.0", "--force",
            "--handler", torchserve_handler.__file__, "--extra-files", extra, "--export-path", str(store),
        ],
        check=True, capture_output=True,
    )  # fmt: skip
    return [
        sys.executable, "-m", "ts.model_server", "--start", "--foreground", "--no-config-snapshots",
        "--model-store", str(store), "--models", f"{NAME}={NAME}.mar", "--ts-config", str(settings),
    ]  # fmt: skip


def environment(work: str | Path) -> dict[str, str]:
    """The environment to start it in: this package on the worker's path, its pid file and sockets inside `work`."""
    path = os.pathsep.join([str(PACKAGE.parent), *filter(None, [os.environ.get("PYTHONPATH")])])
    folder = str(Path(work).absolute())
    return {**os.environ, "PYTHONPATH": path, "TMPDIR": folder, "TEMP": folder, "OMP_NUM_THREADS": "1"}


def main(arguments: list[str] | None = None) -> None:
    """`python -m ssl_lessons.deployment.torchserve BUNDLE [--port 8080] [--work runs/torchserve]`"""
    parser = argparse.ArgumentParser(description="Serve a bundle with TorchServe on this machine.")
    parser.add_argument("bundle", help="a folder written by `ssl-lessons export`")
    parser.add_argument(
        "--port", type=int, default=8080, help="of the predictions; the ten after it are used too"
    )
    parser.add_argument(
        "--work", default="runs/torchserve", help="folder for the archive, the logs and the tokens"
    )
    options = parser.parse_args(arguments)
    try:
        command = prepare(options.bundle, options.work, options.port)
    except InputError as error:
        sys.exit(str(error))
    print(
        f"predictions: http://127.0.0.1:{options.port}/predictions/{NAME}; tokens: {options.work}/key_file.json"
    )
    os.umask(0o077)
    os.chdir(options.work)  # TorchServe puts its logs and its tokens where it is started
    os.execve(command[0], command, environment("."))


if __name__ == "__main__":
    main()
