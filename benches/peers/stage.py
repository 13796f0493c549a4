"""The processes of a measurement: an origin and proxies in front of it, each pinned to a core.

Nothing is ended but what was started here, each by its own process group.
"""

import os
import pathlib
import pwd
import resource
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent.parent
SMALL = ("0123456789abcdef" * 13)[:200]
TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")

# How a peer is started, given its program and the folder that holds its filled-in configuration.
COMMANDS = {
    "nginx": lambda program, folder: [program, "-p", folder, "-e", "stderr", "-c", f"{folder}/nginx.conf"],
    "haproxy": lambda program, folder: [program, "-db", "-f", f"{folder}/haproxy.cfg"],
    "envoy": lambda program, folder: [
        program, "-c", f"{folder}/envoy.yaml", "--concurrency", "1", "--disable-hot-restart",
        "--use-dynamic-base-id", "-l", "error",
    ],
    "plimsoll": lambda program, folder: [program, "run", "-c", f"{folder}/plimsoll.yaml"],
}
TEMPLATES = {
    "nginx": "nginx.conf", "haproxy": "haproxy.cfg", "envoy": "envoy.yaml", "plimsoll": "plimsoll.yaml",
    "origin": "origin.conf",
}


class Failed(Exception):
    """A process did not come up, or ended where it should have run on."""


def say(text):
    print(text, file=sys.stderr, flush=True)


def free_ports(count):
    """Ports that are free now, and distinct."""
    sockets = [socket.socket() for _ in range(count)]
    for each in sockets:
        each.bind(("127.0.0.1", 0))
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports


def pinned(core):
    """What a child does before it becomes its program: take its core and its descriptors."""
    def prepare():
        os.sched_setaffinity(0, {core})
        resource.setrlimit(resource.RLIMIT_NOFILE, (files_limit(), files_limit()))
    return prepare


def files_limit():
    return min(resource.getrlimit(resource.RLIMIT_NOFILE)[1], 1 << 20)


def tree(pid):
    """A process and all its descendants."""
    children = {}
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            fields = stat_fields(int(entry))
            if fields:
                children.setdefault(int(fields[1]), []).append(int(entry))
    found, waiting = [], [pid]
    while waiting:
        each = waiting.pop()
        found.append(each)
        waiting += children.get(each, [])
    return found


def stat_fields(pid):
    """The fields of /proc/PID/stat from the state on; None when the process is gone."""
    try:
        return pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None


class Process:
    """A child with its descendants, in a process group of its own."""

    def __init__(self, name, command, core, folder):
        self.name = name
        self.log = open(f"{folder}/{name}.log", "ab")
        self.child = subprocess.Popen(
            command, preexec_fn=pinned(core), start_new_session=True, cwd=folder,
            stdin=subprocess.DEVNULL, stdout=self.log, stderr=self.log,
        )

    def wait_for_port(self, port, seconds=20.0):
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            if self.child.poll() is not None:
                break
            try:
                socket.create_connection(("127.0.0.1", port), timeout=1).close()
                return self
            except OSError:
                time.sleep(0.05)
        self.stop()
        raise Failed(f"{self.name} does not listen on its port; its log says:\n{self.log_text()}")

    def log_text(self):
        return pathlib.Path(self.log.name).read_text(errors="replace")[-2000:]

    def alive(self):
        return self.child.poll() is None

    def cpu_seconds(self):
        """User and system time of the tree, those of ended and waited-for children included."""
        ticks = 0
        for pid in tree(self.child.pid):
            fields = stat_fields(pid)
            if fields:
                ticks += sum(map(int, fields[11:15]))
        return ticks / TICKS_PER_SECOND

    def resident_bytes(self):
        total = 0
        for pid in tree(self.child.pid):
            try:
                for line in open(f"/proc/{pid}/status"):
                    if line.startswith("VmRSS:"):
                        total += int(line.split()[1]) * 1024
            except (FileNotFoundError, ProcessLookupError):
                pass
        return total

    def stop(self, seconds=5.0):
        """Asks the program to end, then ends its whole group."""
        if self.child.poll() is None:
            self.child.terminate()
            try:
                self.child.wait(seconds)
            except subprocess.TimeoutExpired:
                pass
        try:
            os.killpg(self.child.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        self.child.wait()
        self.log.close()


class Stage:
    """A folder with certificate, bodies and configurations, a running origin, and proxies."""

    def __init__(self, programs, proxy_core, load_core):
        self.programs = programs
        self.proxy_core, self.load_core = proxy_core, load_core
        self.folder = tempfile.mkdtemp(prefix="plimsoll-peers-")
        memory = "/dev/shm" if os.path.isdir("/dev/shm") else None
        self.bodies = tempfile.mkdtemp(prefix="plimsoll-bodies-", dir=memory)
        self.processes = []
        self.ports = {}
        self.origin_port = free_ports(1)[0]

    def __enter__(self):
        os.chmod(self.folder, 0o755)
        os.chmod(self.bodies, 0o755)
        pathlib.Path(self.bodies, "100k").write_bytes(os.urandom(100_000))
        pathlib.Path(self.bodies, "1m").write_bytes(os.urandom(1_000_000))
        pathlib.Path(self.bodies, "post").write_bytes(b"")
        self.make_certificate()
        self.fill("origin", {})
        command = ["nginx", "-p", self.folder, "-e", "stderr", "-c", f"{self.folder}/origin.conf"]
        try:
            origin = Process("origin", command, self.load_core, self.folder)
            self.processes.append(origin)
            origin.wait_for_port(self.origin_port)
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_):
        for process in reversed(self.processes):
            process.stop()
        shutil.rmtree(self.folder, ignore_errors=True)
        shutil.rmtree(self.bodies, ignore_errors=True)

    def make_certificate(self):
        """Self-signed: ECDSA on P-256, and RSA of 2048 bits for clients that can check nothing else."""
        self.certify("rsa", ["-newkey", "rsa:2048"])
        cert, key = self.certify("site", ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"])
        both = pathlib.Path(cert).read_bytes() + pathlib.Path(key).read_bytes()
        pathlib.Path(self.folder, "site-with-key.pem").write_bytes(both)
        pathlib.Path(self.folder, "rsa.cnf").write_text(
            "openssl_conf = all\n[all]\nssl_conf = ssl\n[ssl]\nsystem_default = client\n"
            "[client]\nSignatureAlgorithms = rsa_pss_rsae_sha256:RSA+SHA256\n"
        )

    def certify(self, name, kind):
        """Writes NAME.pem and NAME.key."""
        cert, key = f"{self.folder}/{name}.pem", f"{self.folder}/{name}.key"
        subprocess.run(
            ["openssl", "req", "-x509", *kind, "-nodes",
             "-days", "7", "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1",
             "-keyout", key, "-out", cert],
            check=True, capture_output=True,
        )
        os.chmod(key, 0o644)  # A key for one run, readable by whatever user a peer drops to.
        return cert, key

    def fill(self, name, ports):
        """Writes the configuration kept beside this file with its `@NAMES@` filled in."""
        values = {
            "DIR": self.folder, "BODIES": self.bodies, "SMALL": SMALL, "ORIGIN": self.origin_port,
            "FILES": files_limit(),
            # nginx's workers drop to `nobody` when it is started by root; the folder is root's.
            "USER": f"user {pwd.getpwuid(0).pw_name};" if os.geteuid() == 0 else "",
            **ports,
        }
        text = (HERE / TEMPLATES[name]).read_text()
        for key, value in values.items():
            text = text.replace(f"@{key}@", str(value))
        pathlib.Path(self.folder, TEMPLATES[name]).write_text(text)

    def start(self, name, prefix=(), core=None):
        """Starts a proxy; `prefix` is put before its command (a tracer)."""
        plain, tls = self.ports.setdefault(name, free_ports(2))
        self.fill(name, {"PLAIN": plain, "TLS": tls})
        command = [*prefix, *COMMANDS[name](self.programs[name], self.folder)]
        process = Process(name, command, self.proxy_core if core is None else core, self.folder)
        self.processes.append(process)
        process.wait_for_port(plain, 20.0 if not prefix else 120.0).wait_for_port(tls)
        return process

    def end(self, process, seconds=5.0):
        process.stop(seconds)
        self.processes.remove(process)

    def url(self, name, path, tls=False):
        plain, secure = self.ports[name]
        return f"https://127.0.0.1:{secure}{path}" if tls else f"http://127.0.0.1:{plain}{path}"
