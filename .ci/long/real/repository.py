"""git over smart HTTP: clone, fsck, push."""

import os
import random

from checks import check, command, expect

IDENTITY = {f"GIT_{who}_{what}": value for who in ("AUTHOR", "COMMITTER")
            for what, value in (("NAME", "Real"), ("EMAIL", "real@example.com"))}
# Nothing of the caller's git: GIT_SSL_CAINFO would win over http.sslCAInfo, GIT_DIR over the folder.
INHERITED = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
ENVIRONMENT = {**INHERITED, **IDENTITY, "GIT_CONFIG_GLOBAL": "/dev/null", "GIT_CONFIG_SYSTEM": "/dev/null",
               "GIT_TERMINAL_PROMPT": "0"}


def git(*words, **more):
    return command("git", *words, env=ENVIRONMENT, **more).decode().strip()


def origin(stage):
    """A repository with some history and some megabytes that do not compress."""
    bare = stage.home / "git" / "project.git"
    if bare.exists():
        return bare
    work, chance = stage.home / "work", random.Random(7)
    git("init", "-q", "-b", "main", work)
    for number in range(30):
        (work / f"file{number % 10}").write_bytes(chance.randbytes(300_000))
        git("-C", work, "add", ".")
        git("-C", work, "commit", "-q", "-m", f"change {number}")
    git("clone", "-q", "--bare", work, bare)
    return bare


@check("git clone, fsck")
def clone(stage):
    bare = origin(stage)
    words = []
    for name, base, options in (
        ("h1", stage.web, []),
        ("h2", stage.secure, ["-c", f"http.sslCAInfo={stage.authority}", "-c", "http.version=HTTP/2"]),
    ):
        copy = stage.home / f"copy-{name}"
        git(*options, "clone", "-q", f"{base}/git/project.git", copy)
        git("-C", copy, "fsck", "--full", "--strict")
        expect(git("-C", copy, "rev-parse", "HEAD") == git("-C", bare, "rev-parse", "HEAD"), f"{name}: another head")
        words.append(f"{name}: {git('-C', copy, 'rev-list', '--count', '--objects', '--all')} objects")
    return f"{'; '.join(words)}; fsck clean"


@check("git push, fetch")
def push(stage):
    bare = origin(stage)
    copy = stage.home / "pushing"
    git("clone", "-q", f"{stage.web}/git/project.git", copy)
    # Above http.postBuffer, so that git sends it in chunks.
    (copy / "large").write_bytes(random.Random(8).randbytes(4_000_000))
    git("-C", copy, "add", ".")
    git("-C", copy, "commit", "-q", "-m", "a large one")
    git("-C", copy, "push", "-q", "origin", "main")
    head = git("-C", copy, "rev-parse", "HEAD")
    expect(git("-C", bare, "rev-parse", "main") == head, "another head after the push")
    git("-C", bare, "fsck", "--full")
    git("-C", copy, "fetch", "-q", "--depth=2", "origin")
    return f"4 MB in chunks, head {head[:10]} on both sides"
