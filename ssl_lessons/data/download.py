"""Getting one published archive: resumable, checksummed, from its home or from a mirror."""

from __future__ import annotations

import hashlib
import os
import sys
import tarfile
import time
import urllib.error
import urllib.request
from http.client import HTTPException
from pathlib import Path
from urllib.parse import urlsplit

from tqdm.utils import CallbackIOWrapper

from ssl_lessons.data.cache import cache_folder
from ssl_lessons.errors import InputError
from ssl_lessons.progress import patient
from ssl_lessons.progress import progress as progress_bar

CLONE = Path(__file__).resolve().parents[2]
CHUNK = 1 << 20  # bytes
TIMEOUT = 30  # seconds without a byte before a connection counts as dropped
WAITS = (1.0, 2.0, 4.0)  # seconds before each retry; the count starts again whenever bytes came in


def downloads(chosen: str | Path | None = None) -> Path:
    """Where archives lie and go, wherever a command is run: `chosen`, else $SSL_LESSONS_DATA, else data/cache of the
    clone; without a clone, `downloads` in the folder of decoded pictures (see `cache.cache_folder`).
    """
    chosen = chosen or os.environ.get("SSL_LESSONS_DATA")
    if chosen:
        return Path(chosen).expanduser()
    if (CLONE / "pyproject.toml").is_file():
        return CLONE / "data" / "cache"
    return cache_folder() / "downloads"


class _Dropped(Exception):
    """The connection failed in a way that trying again may cure."""


def fetch(url: str, path, digest: str, mirror: str | None = None, progress: bool = True) -> Path:
    """Make `path` hold the file published at `url`, and return it.

    A file already there with the right checksum is left alone.  Otherwise the bytes go to `path.part`
    (continued where an earlier call stopped, when the server understands HTTP Range; from the start
    when it does not), are checked, and renamed: `path` never holds half a file.

    digest: hexadecimal checksum of the whole file, MD5 (32 digits) or SHA-256 (64).
    mirror: base URL of another server; the name of `path` is appended.  A classroom can serve the archive
        from one laptop: `python -m http.server` in the folder that holds it.

    Raises InputError when the file cannot be had (missing, host unreachable, connection lost again and
    again, disk full) or is not the published one (it is then removed).
    """
    path = Path(path)
    part = path.with_name(path.name + ".part")
    source = _source(url, mirror, path.name)
    try:
        if path.exists():
            if checksum(path, progress, _kind(digest)) == digest:
                return path
            if not part.exists():
                path.rename(part)  # most likely cut short: continue it, the checksum has the last word
        path.parent.mkdir(parents=True, exist_ok=True)
        _transfer(source, part, path, progress)
        got = checksum(part, progress, _kind(digest))
        if got != digest:
            part.unlink()
            raise InputError(
                f"{path.name} from {source} has the wrong checksum ({_kind(digest)} {got}, expected {digest}) and was "
                "removed; run the same command again, or give another server with --mirror"
            )
        os.replace(part, path)
    except OSError as error:  # the disk: what the network does wrong arrives as InputError
        raise InputError(
            f"cannot write {path}: {error.strerror or error}; free some space or choose "
            "another folder with --data-dir"
        ) from error
    return path


def published(
    title: str,
    url: str,
    digest: str,
    space: str,
    data_dir=None,
    mirror: str | None = None,
    download: bool = False,
    name: str | None = None,
) -> Path:
    """A published file in the folder of `downloads`: as it lies there, or fetched when `download` is set.

    digest, mirror: see `fetch`.  space: what it takes, for the message.  data_dir: see `downloads`.  name: of the file,
    by default the last part of the address.
    Raises InputError when it is absent or damaged and not to be fetched, or cannot be had.
    """
    path = downloads(data_dir) / (name or urlsplit(url).path.rsplit("/", 1)[-1])
    if download:
        return fetch(url, path, digest, mirror=mirror)
    if not path.is_file() or checksum(path, kind=_kind(digest)) != digest:
        state = "is damaged" if path.exists() else "is not there"
        raise InputError(
            f"{title} was looked for in {path} and {state}: call again with download=True to get it ({space}), with "
            "mirror=URL to take it from another server, or put the file there by hand"
        )
    return path


def checksum(path, progress: bool = True, kind: str = "md5") -> str:
    """MD5 (or SHA-256) of a file, hexadecimal: a guard against damage, not against malice."""
    path, digest = Path(path), hashlib.new(kind, usedforsecurity=False)
    bar = patient(what=f"checking {path.name}", shown=progress, total=_size(path), unit="B", unit_scale=True)
    with bar, open(path, "rb") as file:
        while chunk := file.read(CHUNK):
            digest.update(chunk)
            bar.update(len(chunk))
    return digest.hexdigest()


def _kind(digest: str) -> str:
    return "sha256" if len(digest) == 64 else "md5"


def unpack(archive: Path, folder: Path) -> None:
    """Unpack a .tar.gz into a folder, with a bar on stderr when it takes long.  Raises OSError when it cannot."""
    size = archive.stat().st_size
    bar = patient(what=f"unpacking {archive.name}", total=size, unit="B", unit_scale=True)
    with bar, open(archive, "rb") as file:
        with tarfile.open(fileobj=CallbackIOWrapper(bar.update, file, "read"), mode="r:gz") as tar:
            tar.extractall(folder, **({"filter": "data"} if hasattr(tarfile, "data_filter") else {}))


def _source(url: str, mirror: str | None, name: str) -> str:
    if mirror is None:
        return url
    if urlsplit(mirror).scheme not in ("http", "https") or not urlsplit(mirror).netloc:
        raise InputError(f"a mirror is a base URL such as http://192.168.0.10:8000, got {mirror!r}")
    return mirror.rstrip("/") + "/" + name


def _transfer(source: str, part: Path, path: Path, progress: bool) -> None:
    """Bring `part` to full length, trying again after a dropped connection."""
    furthest, failures = _size(part), 0
    while True:
        try:
            return _attempt(source, part, path, progress)
        except _Dropped as error:
            if _size(part) > furthest:  # a server without Range starts over: only new ground counts
                furthest, failures = _size(part), 0
            if failures == len(WAITS):
                kept = f" ({_size(part):,} bytes are kept)" if _size(part) else ""
                raise InputError(
                    f"cannot get {source}: {error}; run the same command again to continue{kept}, "
                    f"use --mirror URL, or put the file at {path} by hand"
                ) from error
            time.sleep(WAITS[failures])
            failures += 1


def _attempt(source: str, part: Path, path: Path, progress: bool) -> None:
    """One connection.  Raises _Dropped when it ends early."""
    start = _size(part)
    headers = {"User-Agent": "ssl-lessons"} | ({"Range": f"bytes={start}-"} if start else {})
    try:
        response = urllib.request.urlopen(urllib.request.Request(source, headers=headers), timeout=TIMEOUT)
    except urllib.error.HTTPError as error:
        error.close()
        if error.code == 416 and start:  # nothing after `start`: complete, or not the same file at all
            if _total(error.headers) == start:
                return
            part.unlink()
            raise _Dropped("the server's file is shorter than what was already here") from error
        if error.code in (408, 429) or error.code >= 500:
            raise _Dropped(f"HTTP {error.code} {error.reason}") from error
        raise InputError(
            f"cannot get {source}: HTTP {error.code} {error.reason}; "
            f"use --mirror URL, or put the file at {path} by hand"
        ) from error
    except (OSError, HTTPException) as error:
        raise _Dropped(f"{getattr(error, 'reason', None) or error or type(error).__name__}") from error
    with response:
        if response.status == 206 and _first(response.headers) == start:
            total = _total(response.headers)
        else:  # the whole file is coming, whatever was asked
            start, total = 0, _number(response.headers.get("Content-Length"))
        done = start
        bar = progress_bar(
            file=sys.stderr, desc=f"{path.name}: ", total=total, initial=start, unit="B", unit_scale=True,
            disable=not progress,
        )  # fmt: skip
        with bar, open(part, "ab" if start else "wb") as f:
            while chunk := _read(response):
                f.write(chunk)
                done += len(chunk)
                bar.update(len(chunk))
    if total is not None and done < total:  # http.client ends quietly when the other side hangs up
        raise _Dropped(f"the connection was lost after {done:,} of {total:,} bytes")


def _read(response) -> bytes:
    # read1 hands over what has arrived: a full read() would lose a whole chunk when the line goes dead.
    try:
        return response.read1(CHUNK)
    except (OSError, HTTPException) as error:
        raise _Dropped(f"the connection was lost ({error or type(error).__name__})") from error


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _number(text: str | None) -> int | None:
    return int(text) if text and text.isdigit() else None


def _first(headers) -> int | None:
    """First byte of a Content-Range such as "bytes 100-999/1000"."""
    return _number(headers.get("Content-Range", "").removeprefix("bytes").strip().split("-")[0])


def _total(headers) -> int | None:
    """File size in a Content-Range such as "bytes 100-999/1000" or "bytes */1000"."""
    return _number(headers.get("Content-Range", "").rpartition("/")[2])
