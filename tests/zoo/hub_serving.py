"""Stand-ins for Hugging Face and Kaggle: as much of them as their client libraries need."""

import base64
import contextlib
import http.server
import io
import json
import pathlib
import threading
import urllib.parse
import zipfile

from tests.zoo.serving import LocalServer

COMMIT = "c" * 40


class HubServer(LocalServer):
    """A server with files, which only a token opens.

    Args:
        token: the bearer token that it asks for.
    """

    def __init__(self, token):
        self.files = {}  # (place, version) to a dictionary from path to bytes
        self.token, self.status = token, None  # a status that it answers to all requests
        self.hangs, self.requests = False, []
        server = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do(self):
                length = int(self.headers.get("Content-Length") or 0)
                server.answer(self, self.rfile.read(length))

            do_GET = do_HEAD = do_POST = do_PUT = do

            def log_message(self, *_):
                pass

        super().__init__(Handler)
        self.url = self.url.rstrip("/")

    def answer(self, handler, body):
        path = urllib.parse.unquote(urllib.parse.urlsplit(handler.path).path)
        self.requests.append(f"{handler.command} {path}")
        if self.hangs:
            threading.Event().wait(20)
        is_open = path.startswith("/storage/")  # as addresses that are signed
        if not is_open and handler.headers.get("Authorization") != f"Bearer {self.token}":
            send(handler, 401, b"{}")
        elif self.status:
            send(handler, self.status, b"{}")
        else:
            with contextlib.suppress(BrokenPipeError):
                self.route(handler, path, body)


def send(handler, status, content=b"", **headers):
    """Answers a request; underscores in the headers' names are hyphens."""
    content = content if isinstance(content, bytes) else json.dumps(content).encode()
    handler.send_response(status)
    headers = {"Content_Type": "application/json", "Content_Length": len(content), **headers}
    for name, value in headers.items():
        handler.send_header(name.replace("_", "-"), str(value))
    handler.end_headers()
    if handler.command != "HEAD":
        handler.wfile.write(content)


class HuggingFace(HubServer):
    """Repositories whose files are small enough to be part of a commit."""

    def route(self, handler, path, body):
        _, *parts = path.split("/")
        if parts[2:3] == ["resolve"]:
            self._resolve(handler, "/".join(parts[:2]), parts[3], "/".join(parts[4:]))
            return
        repo, action, version = "/".join(parts[2:4]), parts[-2], parts[-1]
        if path == "/api/repos/create":
            asked = json.loads(body)
            repo = f"{asked['organization']}/{asked['name']}"
            is_new = self.files.setdefault((repo, "main"), {}) == {}
            send(handler, 200 if is_new else 409, {"url": f"{self.url}/{repo}"})
        elif path == "/api/validate-yaml":
            send(handler, 200, {"errors": [], "warnings": []})
        elif action == "revision":
            send(handler, 200, {"id": repo, "sha": COMMIT})
        elif action == "branch":
            is_new = (repo, version) not in self.files
            self.files.setdefault((repo, version), {})
            send(handler, 200 if is_new else 409, {})
        elif action == "preupload":
            modes = {"uploadMode": "regular", "shouldIgnore": False}
            files = [{"path": file["path"], **modes} for file in json.loads(body)["files"]]
            send(handler, 200, {"files": files})
        elif action == "commit":
            for line in map(json.loads, body.splitlines()):
                if line["key"] == "file":
                    content = base64.b64decode(line["value"]["content"])
                    self.files[repo, version][line["value"]["path"]] = content
            url = f"{self.url}/{repo}/commit/{COMMIT}"
            send(handler, 200, {"commitUrl": url, "commitOid": COMMIT})
        else:
            send(handler, 501)

    def _resolve(self, handler, repo, version, path):
        if (repo, version) not in self.files:
            send(handler, 404, X_Error_Code="RevisionNotFound")
        elif path not in self.files[repo, version]:
            send(handler, 404, X_Error_Code="EntryNotFound", X_Repo_Commit=COMMIT)
        else:
            content = self.files[repo, version][path]
            send(handler, 200, content, X_Repo_Commit=COMMIT, ETag=f'"{hash(content)}"')


class Kaggle(HubServer):
    """Models with numbered versions, whose files are in a storage with signed addresses."""

    def __init__(self, token):
        super().__init__(token)
        self.storage, self.models = {}, set()

    def route(self, handler, path, body):
        if path.startswith("/storage/"):
            if handler.command == "PUT":
                self.storage[path] = body
            send(handler, 200, self.storage[path], Content_Type="application/octet-stream")
            return
        getattr(self, f"_{path.rsplit('/')[-1]}")(handler, json.loads(body))

    def _versions(self, place):
        return [int(version) for there, version in self.files if there == place]

    def _GetModel(self, handler, asked):
        there = f"{asked['ownerSlug']}/{asked['modelSlug']}" in self.models
        send(handler, 200 if there else 404, {})

    def _CreateModel(self, handler, asked):
        self.models.add(f"{asked['ownerSlug']}/{asked['slug']}")
        send(handler, 200, {})

    def _StartBlobUpload(self, handler, asked):
        path = f"/storage/{len(self.requests)}/{asked['name']}"
        send(handler, 200, {"token": path, "createUrl": f"{self.url}{path}"})

    def _CreateModelInstance(self, handler, asked):
        place = _place(asked | asked["body"])
        if self._versions(place):
            send(handler, 200, {"error": "it exists", "errorCode": 409})
            return
        self.files[place, "1"] = self._uploaded(asked["body"])
        send(handler, 200, {})

    def _CreateModelInstanceVersion(self, handler, asked):
        place = _place(asked)
        self.files[place, str(1 + max(self._versions(place)))] = self._uploaded(asked["body"])
        send(handler, 200, {})

    def _uploaded(self, folder, prefix=""):
        """The files of an upload by path; Kaggle unpacks archives."""
        tokens = [file["token"] for file in folder.get("files", [])]
        found = {prefix + pathlib.PurePosixPath(t).name: self.storage[t] for t in tokens}
        if list(found) == ["archive.zip"]:
            with zipfile.ZipFile(io.BytesIO(found["archive.zip"])) as archive:
                found = {name: archive.read(name) for name in archive.namelist()}
        for part in folder.get("directories", []):
            found |= self._uploaded(part, f"{prefix}{part['name']}/")
        return found

    def _GetModelInstance(self, handler, asked):
        versions = self._versions(_place(asked))
        send(handler, 200 if versions else 404, {"versionNumber": max(versions, default=0)})

    def _DownloadModelInstanceVersion(self, handler, asked):
        files = self.files.get((_place(asked), str(asked["versionNumber"])), {})
        if asked["path"] not in files:
            send(handler, 404, {})
            return
        path = f"/storage/signed/{asked['path']}"
        self.storage[path] = files[asked["path"]]
        send(handler, 302, Location=f"{self.url}{path}?signature=secret")


def _place(asked):
    framework = asked["framework"].removeprefix("MODEL_FRAMEWORK_").lower()
    return f"{asked['ownerSlug']}/{asked['modelSlug']}/{framework}/{asked['instanceSlug']}"
