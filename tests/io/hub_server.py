"""The part of the Hub's HTTP interface that downloads use, over files in memory."""

import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

COMMIT = "0123456789abcdef0123456789abcdef01234567"


def handler(repository: str, files: dict[str, bytes]) -> type[BaseHTTPRequestHandler]:
    api = f"/api/models/{repository}"

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            path = self.path.partition("?")[0]
            revision = path.removeprefix(f"{api}/revision/").removeprefix(f"{api}/tree/")
            if not path.startswith((api, f"/{repository}/")):
                self.reply(404, error="RepoNotFound")
            elif path.startswith(f"/{repository}/resolve/"):
                self.file(*path.removeprefix(f"/{repository}/resolve/").split("/", 1))
            elif path != api and revision not in ("main", COMMIT):
                self.reply(404, error="RevisionNotFound")
            elif path.startswith(f"{api}/tree/"):
                entries = [
                    {"type": "file", "path": name, "size": len(raw), "oid": digest(raw)}
                    for name, raw in files.items()
                ]
                self.reply(200, json.dumps(entries).encode())
            else:
                siblings = [{"rfilename": name} for name in files]
                info = {"id": repository, "sha": COMMIT, "siblings": siblings}
                self.reply(200, json.dumps(info).encode())

        do_HEAD = do_GET

        def file(self, revision: str, name: str) -> None:
            if revision not in ("main", COMMIT):
                self.reply(404, error="RevisionNotFound")
            elif name not in files:
                self.reply(404, error="EntryNotFound")
            else:
                self.reply(200, files[name], etag=digest(files[name]))

        def reply(self, status: int, body: bytes = b"", error: str = "", etag: str = "") -> None:
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.send_header("X-Repo-Commit", COMMIT)
            if etag:
                self.send_header("ETag", f'"{etag}"')
            if error:
                self.send_header("X-Error-Code", error)
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(body)

        def log_message(self, *arguments: object) -> None:
            pass

    return Handler


def digest(raw: bytes) -> str:
    return hashlib.sha1(raw).hexdigest()


@contextmanager
def serve(repository: str, files: dict[str, bytes]) -> Iterator[str]:
    """Serve one repository; gives the address."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler(repository, files))
    thread = Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
