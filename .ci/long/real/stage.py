"""The servers, and plimsoll before them, as children that end with the run."""

import contextlib
import pathlib
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time

HERE = pathlib.Path(__file__).parent
START_WITHIN = 20.0

NGINX = """
daemon off; worker_processes 1; pid {home}/nginx.pid; error_log {home}/nginx.log;
events {{ worker_connections 2048; }}
http {{
  access_log off; default_type application/octet-stream; sendfile on; keepalive_requests 1000000;
  client_body_temp_path {home}/nginx-body; proxy_temp_path {home}/nginx-1; fastcgi_temp_path {home}/nginx-2;
  uwsgi_temp_path {home}/nginx-3; scgi_temp_path {home}/nginx-4;
  server {{
    listen 127.0.0.1:{nginx} backlog=2048;
    client_max_body_size 0;
    location = /files/small {{ return 200 "a small answer of a real server\\n"; }}
    location /files/ {{ alias {home}/files/; }}
    location /stored/ {{ alias {home}/stored/; dav_methods PUT; create_full_put_path on; }}
  }}
}}
"""

PLIMSOLL = """
listeners:
  web:  {{ address: "127.0.0.1:{web}" }}
  unix: {{ address: "unix:{home}/web.sock" }}
{tls}
routes:
  - {{ match: {{ path: /files }}, upstream: nginx }}
  - {{ match: {{ path: /stored }}, upstream: nginx }}
  - {{ match: {{ path: /git }}, upstream: git }}
  - {{ match: {{ path: /socket }}, upstream: websockets }}
  - {{ match: {{ path: /real.Echo }}, upstream: grpc }}
  - {{ match: {{ path: /h2 }}, upstream: backend_h2, rewrite: {{ prefix: / }} }}
  - {{ match: {{ path: / }}, upstream: backend }}
upstreams:
  nginx:      {{ endpoints: ["127.0.0.1:{nginx}"] }}
  git:        {{ endpoints: ["127.0.0.1:{git}"] }}
  websockets: {{ endpoints: ["127.0.0.1:{websockets}"] }}
  grpc:       {{ endpoints: ["127.0.0.1:{grpc}"], protocol: h2 }}
  backend:    {{ endpoints: ["127.0.0.1:{backend}"] }}
  backend_h2: {{ endpoints: ["127.0.0.1:{backend}"], protocol: h2 }}
"""

TLS = """  secure:
    address: "127.0.0.1:{secure}"
    tls: {{ certificates: [ {{ cert: "{home}/site.pem", key: "{home}/site.key" }} ] }}
"""

OPENSSL = """
[req]
distinguished_name = subject
[subject]
[authority]
basicConstraints = critical, CA:TRUE
keyUsage = critical, keyCertSign, cRLSign
subjectKeyIdentifier = hash
[site]
basicConstraints = critical, CA:FALSE
keyUsage = critical, digitalSignature
extendedKeyUsage = serverAuth
subjectAltName = DNS:localhost, IP:127.0.0.1
subjectKeyIdentifier = hash
authorityKeyIdentifier = keyid
"""


class Stage:
    """Everything that runs, and where. Used as a context manager."""

    def __init__(self, program):
        self.program = program
        self.children = []
        self.home = pathlib.Path(tempfile.mkdtemp(prefix="plimsoll-real-"))
        names = ["web", "secure", "nginx", "git", "websockets", "grpc", "backend"]
        self.ports = dict(zip(names, free_ports(len(names))))
        self.web = f"http://127.0.0.1:{self.ports['web']}"
        self.secure = f"https://localhost:{self.ports['secure']}"
        self.direct = f"http://127.0.0.1:{self.ports['backend']}"
        self.unix = self.home / "web.sock"

    def __enter__(self):
        try:
            self.start()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_):
        for child in reversed(self.children):
            child.terminate()
        for child in self.children:
            try:
                child.wait(5)
            except subprocess.TimeoutExpired:
                child.kill()
                child.wait()
        shutil.rmtree(self.home, ignore_errors=True)

    def start(self):
        for folder in ("files", "stored", "git"):
            (self.home / folder).mkdir()
        # nginx's worker is another user when started by root.
        self.home.chmod(0o755)
        (self.home / "stored").chmod(0o777)
        self.make_certificates()
        self.write("nginx.conf", NGINX)
        tls = TLS.format(home=self.home, **self.ports)
        self.write("plimsoll.yaml", PLIMSOLL, tls=tls)

        self.run("nginx", "nginx", "-e", self.home / "nginx.log", "-c", self.home / "nginx.conf")
        self.run("backend", self.program, "backend", "--listen", self.address("backend"))
        for name in ("git", "grpc", "websockets"):
            self.run(name, sys.executable, HERE / f"{name}_server.py", str(self.ports[name]), self.home / "git")
        self.proxy = self.run("plimsoll", self.program, "run", "--config", self.home / "plimsoll.yaml")
        for name in self.ports:
            self.wait_for(name)

    def make_certificates(self):
        """An authority, and what it signed for the secure port: no client has to take a leaf for an authority."""
        self.write("openssl.cnf", OPENSSL)
        self.authority = self.home / "authority.pem"
        self.certify("authority")
        self.certify("site", "-CA", self.authority, "-CAkey", self.home / "authority.key")

    def certify(self, name, *signer):
        subprocess.run(
            ["openssl", "req", "-config", self.home / "openssl.cnf", "-x509", "-extensions", name, *signer,
             "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2",
             "-subj", f"/CN=plimsoll test {name}",
             "-keyout", self.home / f"{name}.key", "-out", self.home / f"{name}.pem"],
            check=True, capture_output=True)

    def address(self, name):
        return f"127.0.0.1:{self.ports[name]}"

    def write(self, name, text, **more):
        (self.home / name).write_text(text.format(home=self.home, **self.ports, **more))

    def run(self, name, *command):
        with open(self.home / f"{name}.out", "wb") as out:
            child = subprocess.Popen([str(one) for one in command], stdout=out, stderr=out, stdin=subprocess.DEVNULL)
        child.name = name
        self.children.append(child)
        return child

    def wait_for(self, name):
        """Until the port accepts."""
        deadline = time.monotonic() + START_WITHIN
        while True:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.ports[name]), 1):
                return
            for child in self.children:
                if child.poll() is not None:
                    raise SystemExit(f"{child.name} ended with {child.returncode}:\n{self.said(child.name)}")
            if time.monotonic() > deadline:
                raise SystemExit(f"{name} does not accept on {self.address(name)}:\n{self.said('plimsoll')}")
            time.sleep(0.02)

    def said(self, name):
        """What a child wrote, its last lines."""
        return (self.home / f"{name}.out").read_text(errors="replace")[-2000:]

    def proxy_runs(self):
        """Whether the proxy still runs."""
        return self.proxy.poll() is None

    def resident(self):
        """VmRSS of the proxy in KiB."""
        for line in pathlib.Path(f"/proc/{self.proxy.pid}/status").read_text().splitlines():
            if line.startswith("VmRSS:"):
                return int(line.split()[1])
        raise RuntimeError("no VmRSS")

    @contextlib.contextmanager
    def watch_memory(self):
        """Samples the proxy's memory every 10 ms; gives a function for the growth at its peak, in MiB."""
        before = peak = self.resident()
        ended = threading.Event()

        def sample():
            nonlocal peak
            while not ended.wait(0.01):
                with contextlib.suppress(OSError):
                    peak = max(peak, self.resident())

        thread = threading.Thread(target=sample, daemon=True)
        thread.start()
        try:
            yield lambda: (peak - before) / 1024
        finally:
            ended.set()
            thread.join()


def free_ports(count):
    """Ports that nobody held a moment ago: taken all at once, so that they differ."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]
