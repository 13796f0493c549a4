"""git's smart HTTP: `git http-backend` behind the smallest server of CGI that streams both ways.

`http.server` has one of its own, which speaks HTTP/1.0 only and reads no chunked body, as a large push sends.
"""

import http.server
import os
import subprocess
import sys
import threading

ROOT = sys.argv[2]


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        path, _, query = self.path.removeprefix("/git").partition("?")
        environment = {
            **os.environ,
            "GIT_PROJECT_ROOT": ROOT,
            "GIT_HTTP_EXPORT_ALL": "1",
            "GIT_PROTOCOL": self.headers.get("Git-Protocol", ""),
            "GIT_CONFIG_COUNT": "1",
            "GIT_CONFIG_KEY_0": "http.receivepack",
            "GIT_CONFIG_VALUE_0": "true",
            "REQUEST_METHOD": self.command,
            "PATH_INFO": path,
            "QUERY_STRING": query,
            "CONTENT_TYPE": self.headers.get("Content-Type", ""),
            "HTTP_CONTENT_ENCODING": self.headers.get("Content-Encoding", ""),
            "REMOTE_ADDR": self.client_address[0],
        }
        # http-backend reads to the end of its input where no length is given.
        if length := self.headers.get("Content-Length"):
            environment["CONTENT_LENGTH"] = length
        child = subprocess.Popen(
            ["git", "http-backend"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment)
        feeder = threading.Thread(target=self.feed, args=[child.stdin])
        feeder.start()
        self.answer(child.stdout)
        feeder.join()
        child.wait()

    do_POST = do_GET

    def feed(self, pipe):
        """The request's body into the program, by its length or by chunks."""
        with pipe:
            if self.headers.get("Transfer-Encoding", "").lower() == "chunked":
                while size := int(self.rfile.readline().split(b";")[0], 16):
                    pipe.write(self.rfile.read(size))
                    self.rfile.readline()
                while self.rfile.readline().strip():
                    pass
            else:
                pipe.write(self.rfile.read(int(self.headers.get("Content-Length", 0))))

    def answer(self, pipe):
        """The program's head and its body, in chunks."""
        status, fields = 200, []
        while line := pipe.readline().strip():
            name, _, value = line.decode().partition(": ")
            if name == "Status":
                status = int(value.split()[0])
            else:
                fields.append((name, value))
        self.send_response(status)
        for name, value in fields:
            self.send_header(name, value)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        while piece := pipe.read1(65536):
            self.wfile.write(b"%x\r\n%s\r\n" % (len(piece), piece))
        self.wfile.write(b"0\r\n\r\n")

    def log_message(self, *_):
        pass


http.server.ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
