#!/usr/bin/env python3
"""`ingot inspect http://…` beside a local server that serves ranges slowly and counts what it sends.

    tests/interop/http_ranges.py [--ingot build/ingot] [--mbps 8]

  1. The report of a URL is the report of the file; no more than the header and 1 MiB is fetched.
  2. One tensor's values come by a range of their own.
  3. `ingot plan` of a URL is that of the file, and looks at the header only.
  4. Shards are found beside each other.
  5. What a server can do wrong is one error: no such file, no ranges, a short answer, a file that changes, a redirection to another
     protocol.
"""
import argparse
import http.server

import re
import subprocess
import tempfile
import threading
import time
from pathlib import Path

from checks import CHECKPOINT, ROOT, Checks, Ingot


class Server(http.server.BaseHTTPRequestHandler):
    folder, bytes_per_second, fault = None, None, None
    sent = 0
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        cls = type(self)
        path = cls.folder / self.path.lstrip("/").split("?")[0]
        if self.path.startswith("/moved/"):
            self.send_response(302)
            self.send_header("Location", "/" + self.path.removeprefix("/moved/"))
            self.send_header("Content-Length", "0")
            return self.end_headers()
        if self.path.startswith("/elsewhere/"):
            self.send_response(302)
            self.send_header("Location", "file:///etc/passwd")
            self.send_header("Content-Length", "0")
            return self.end_headers()
        if not path.is_file():
            self.send_response(404)
            self.send_header("Content-Length", "0")
            return self.end_headers()
        data = path.read_bytes()
        wanted = re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers.get("Range", ""))
        begin, end = (int(wanted[1]), min(int(wanted[2]) + 1, len(data))) if wanted else (0, len(data))
        body = data[begin:end]
        if cls.fault == "no ranges":
            begin, body = 0, data
            self.send_response(200)
        else:
            self.send_response(206)
            total = len(data) + (1 if cls.fault == "changes" and begin > 0 else 0)
            self.send_header("Content-Range", f"bytes {begin}-{end - 1}/{total}")
        if cls.fault == "short":
            self.send_header("Connection", "close")
            self.send_header("Content-Length", str(len(body)))
            body = body[:-10]
        else:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        try:
            for at in range(0, len(body), 65536):
                piece = body[at:at + 65536]
                self.wfile.write(piece)
                cls.sent += len(piece)
                time.sleep(len(piece) / cls.bytes_per_second)
        except (BrokenPipeError, ConnectionResetError):
            pass
        self.close_connection = self.close_connection or cls.fault == "short"

    def log_message(self, *_):
        pass


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--ingot", default=str(ROOT / "build" / "ingot"))
    parser.add_argument("--mbps", type=float, default=8, help="megabytes per second that the server sends")
    options = parser.parse_args()
    ingot, check = Ingot(options.ingot), Checks()
    with tempfile.TemporaryDirectory() as folder:
        Server.folder, Server.bytes_per_second = Path(folder), options.mbps * 1e6
        model = Server.folder / "model.gguf"
        ingot.run("convert", CHECKPOINT, "-t", "Q8_0", "-o", model)
        # A header of several megabytes, larger than the first request.
        ingot.run("edit", model, "--set", "padding=" + "x" * 100000, "--set", "more=" + "y" * 100000, "--force")
        long = Server.folder / "long.jinja"
        long.write_text("z" * 3_000_000)
        ingot.run("edit", model, "--chat-template", long)
        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Server)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        base = f"http://127.0.0.1:{server.server_port}"

        local = ingot.json("inspect", model)
        Server.sent, start = 0, time.perf_counter()
        remote = ingot.json("inspect", f"{base}/model.gguf")
        seconds = time.perf_counter() - start
        header = local["summary"]["data_offset_bytes"]
        check(f"a URL's report is the file's ({Server.sent:,} bytes for a header of {header:,}, {seconds:.2f} s)",
              all(remote[part] == local[part] for part in ("summary", "metadata", "tensors")))
        check("no more than the header and 1 MiB was fetched", Server.sent <= header + 2**20, Server.sent)
        check("redirections are followed", ingot.json("inspect", f"{base}/moved/model.gguf")["tensors"] == local["tensors"])

        Server.sent = 0
        name = "blk.0.attn_q.weight"
        ours = ingot.json("inspect", f"{base}/model.gguf", "--tensor", name)
        theirs = ingot.json("inspect", model, "--tensor", name)
        check("a tensor's values come by their own range", {**ours, "file": ""} == {**theirs, "file": ""})
        size = next(t["size_bytes"] for t in local["tensors"] if t["name"] == name)
        check("and nothing else does", Server.sent <= header + 2**20 + size, Server.sent)

        Server.sent = 0
        limits = ("--device-memory", "8MiB", "--cpu-bandwidth", "10GB/s")
        ours, theirs = ingot.json("plan", model, *limits), ingot.json("plan", f"{base}/model.gguf", *limits)
        check("a URL's plan is the file's", {**ours, "file": ""} == {**theirs, "file": ""})
        check("and takes the header only", Server.sent <= header + 2**20, Server.sent)

        ingot.run("split", model, Server.folder / "part", "--max-tensors", "20")
        shards = ingot.json("inspect", f"{base}/part-00002-of-00003.gguf")
        check("shards are found beside each other", len(shards["files"]) == 3 and shards["summary"]["tensor_count"] == 56)

        for fault, path, message in (("", "absent.gguf", "404"), ("no ranges", "model.gguf", "whole file"), ("short", "model.gguf", "model.gguf"),
                                     ("changes", "model.gguf", "changed on the server"), ("", "elsewhere/x", "rotocol"),
                                     ("", "long.jinja", "not with \"GGUF\"")):
            Server.fault, Server.sent = fault, 0
            done = subprocess.run([ingot.program, "inspect", f"{base}/{path}"], capture_output=True, text=True, timeout=60)
            check(f"{fault or path}: one error", done.returncode == 1 and done.stderr.count("\n") == 1 and message in done.stderr,
                  done.returncode, done.stderr)
        Server.fault = ""
        done = subprocess.run([ingot.program, "inspect", "http://127.0.0.1:1/x.gguf"], capture_output=True, text=True, timeout=60)
        check("nobody listens: one error", done.returncode == 1 and done.stderr.count("\n") == 1, done.stderr)
    check.finish()


if __name__ == "__main__":
    main()
