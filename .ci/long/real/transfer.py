"""A gigabyte each way, with the proxy's memory watched."""

import hashlib
import json
import subprocess
import time

from checks import Failed, check, command, expect

SIZE = 1 << 30
GROWTH_MIB = 32
PROTOCOLS = {"h1": ["--http1.1"], "h2": ["--http2-prior-knowledge"]}
LIMIT = 600


def seeded_file(stage):
    """A gigabyte that does not repeat, the same in every run; its checksum."""
    path = stage.home / "files" / "large"
    if not path.exists():
        with open(path, "wb") as out:
            generator = subprocess.Popen(
                ["openssl", "enc", "-aes-128-ctr", "-nosalt", "-K", "00" * 16, "-iv", "01" * 16, "-in", "/dev/zero"],
                stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
            left = SIZE
            while left:
                left -= out.write(generator.stdout.read(min(left, 1 << 20)))
            generator.kill()
            generator.stdout.close()
            generator.wait()
        path.chmod(0o644)
        seeded_file.sum = file_sum(path)
    return path, seeded_file.sum


def file_sum(path):
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def download_sum(url, *options):
    """Bytes and checksum of what curl gets."""
    child = subprocess.Popen(["curl", "-sS", "--fail", "--max-time", str(LIMIT), *options, url], stdout=subprocess.PIPE)
    digest, count = hashlib.sha256(), 0
    try:
        while piece := child.stdout.read(1 << 20):
            digest.update(piece)
            count += len(piece)
        if child.wait():
            raise Failed(f"curl ended with {child.returncode} after {count} bytes of {url}")
    finally:
        child.kill()
        child.wait()
    return count, digest.hexdigest()


def flat(growth):
    expect(growth() < GROWTH_MIB, f"the proxy grew by {growth():.1f} MiB")
    return f"memory +{growth():.1f} MiB"


def download(stage, url, expected, options):
    download_sum(f"{stage.web}/bytes/1000000", *options)
    start = time.monotonic()
    with stage.watch_memory() as growth:
        count, digest = download_sum(url, *options)
    expect(count == expected[0], f"{count} bytes")
    expect(digest == expected[1], "another checksum")
    return f"{count} bytes equal, {count / 2**20 / (time.monotonic() - start):.0f} MiB/s, {flat(growth)}"


def from_nginx(stage, *options):
    _, digest = seeded_file(stage)
    return download(stage, f"{stage.web}/files/large", (SIZE, digest), options)


@check("1 GiB download, h1, nginx")
def download_h1(stage):
    return from_nginx(stage, "--http1.1")


@check("1 GiB download, h2, nginx")
def download_h2(stage):
    return from_nginx(stage, "--http2-prior-knowledge")


@check("1 GiB download, h2, h2 behind")
def download_h2_h2(stage):
    direct = download_sum(f"{stage.direct}/bytes/{SIZE}")
    return download(stage, f"{stage.web}/h2/bytes/{SIZE}", direct, ["--http2-prior-knowledge"])


@check("1 GiB download, h1, h2 behind")
def download_h1_h2(stage):
    direct = download_sum(f"{stage.direct}/bytes/{SIZE}")
    return download(stage, f"{stage.web}/h2/bytes/{SIZE}", direct, ["--http1.1"])


@check("1 GiB upload, h1, stored by nginx")
def upload_h1(stage):
    return stored(stage, "--http1.1")


@check("1 GiB upload, h2, stored by nginx")
def upload_h2(stage):
    return stored(stage, "--http2-prior-knowledge")


@check("1 GiB upload, h1, h2 behind")
def upload_h1_h2(stage):
    return summed(stage, "/h2/checksum", "--http1.1")


@check("1 GiB upload, h2, h2 behind")
def upload_h2_h2(stage):
    return summed(stage, "/h2/checksum", "--http2-prior-knowledge")


@check("1 GiB upload, h1, chunked")
def upload_chunked(stage):
    return summed(stage, "/checksum", "--http1.1", "-H", "Transfer-Encoding: chunked")


def upload(stage, url, *options):
    """The answer, and words on rate and memory."""
    path, _ = seeded_file(stage)
    command("curl", "-sS", "--fail", *options, "-T", stage.home / "site.pem", f"{stage.web}/checksum")
    start = time.monotonic()
    with stage.watch_memory() as growth:
        answer = command("curl", "-sS", "--fail", "--max-time", LIMIT, *options, "-T", path, url, within=LIMIT)
    return answer, f"{SIZE / 2**20 / (time.monotonic() - start):.0f} MiB/s, {flat(growth)}"


def stored(stage, *options):
    _, digest = seeded_file(stage)
    _, words = upload(stage, f"{stage.web}/stored/large", *options)
    path = stage.home / "stored" / "large"
    expect(path.stat().st_size == SIZE, f"{path.stat().st_size} bytes were stored")
    expect(file_sum(path) == digest, "another checksum")
    path.unlink()
    return f"{SIZE} bytes equal, {words}"


def summed(stage, path, *options):
    """The backend's checksum through the proxy against the one without."""
    large, _ = seeded_file(stage)
    if not hasattr(summed, "direct"):
        summed.direct = command("curl", "-sS", "--fail", "-T", large, f"{stage.direct}/checksum", within=LIMIT)
    answer, words = upload(stage, f"{stage.web}{path}", *options)
    equal = all(json.loads(answer)[key] == json.loads(summed.direct)[key] for key in ("length", "xxh3"))
    expect(equal and json.loads(answer)["length"] == SIZE, f"{answer} and not {summed.direct}")
    return f"{SIZE} bytes equal, {words}"


@check("slow reader, 256 MiB, memory")
def slow_reader(stage):
    """A reader slower than its server: what is not read must not pile up in the proxy."""
    words = []
    for name, options in PROTOCOLS.items():
        for path in ("", "/h2"):
            url = f"{stage.web}{path}/bytes/{SIZE // 4}"
            direct = download_sum(f"{stage.direct}/bytes/{SIZE // 4}")
            with stage.watch_memory() as growth:
                got = download_sum(url, *options, "--limit-rate", "64M")
            expect(got == direct, f"{name}{path}: {got[0]} bytes, or another checksum")
            words.append(f"{name}{path} {flat(growth)}")
    return ", ".join(words)
