"""A stand-in for the Hub's API: repositories are created, files preuploaded, sent by LFS and committed."""

import base64
import hashlib
import json
import re
from dataclasses import dataclass, field
from typing import Any

from helpers.local_server import Handler, Server

HUB_ID = re.compile(r"[\w][\w.-]*/[\w][\w.-]*")


@dataclass
class Hub:
    """The requests received by the server, and the accepted tokens."""

    owner: str = "me"
    token: str = "hf_right"
    repos: dict[str, dict[str, Any]] = field(default_factory=dict)
    stored: dict[str, bytes] = field(default_factory=dict)  # LFS objects by oid
    committed: dict[str, bytes] = field(default_factory=dict)  # path -> bytes
    lfs: set[str] = field(default_factory=set)  # paths that came as LFS
    summaries: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)
    fails: dict[str, int] = field(default_factory=dict)  # by part of the path: a status


class HubHandler(Handler):
    hub: Hub

    def do_GET(self):
        self.hub.requests.append(f"GET {self.path}")
        name = self.path.removeprefix("/api/models/")
        self.reply(200 if name in self.hub.repos else 404, {"id": name})

    def do_PUT(self):
        self.hub.requests.append(f"PUT {self.path}")
        body = self.rfile.read(int(self.headers["Content-Length"]))
        oid = self.path.rsplit("/", 1)[1]
        if oid != hashlib.sha256(body).hexdigest():
            return self.reply(400, {"error": "these are other bytes"})
        self.hub.stored[oid] = body
        return self.reply(200, {})

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        path = self.path.split("?")[0]
        self.hub.requests.append(f"POST {path}")
        if self.headers.get("Authorization") != f"Bearer {self.hub.token}":
            return self.reply(401, {"error": "Invalid username or password."})
        for part, status in self.hub.fails.items():
            if part in path:
                return self.reply(status, {"error": f"no: {part}"})
        for end, answer in ROUTES.items():
            if end in path:
                return answer(self, body)
        return self.reply(404, {"error": path})

    def reply(self, status: int, content: Any):
        data = json.dumps(content).encode()
        self.start(status, len(data), **{"Content-Type": "application/json"})
        self.wfile.write(data)

    def create(self, body: bytes):
        repository = json.loads(body)
        name = f"{repository['organization']}/{repository['name']}"
        if repository["organization"] != self.hub.owner:
            return self.reply(403, {"error": "You don't have the rights to create a model there"})
        url = f"{self.server.site.url}/{name}"
        if name in self.hub.repos:
            return self.reply(409, {"error": "You already created this model repo", "url": url})
        self.hub.repos[name] = repository
        return self.reply(200, {"url": url})

    def validate(self, body: bytes):
        """As the Hub does: a base model must be an id, and the model index must have names and values."""
        import yaml

        data = yaml.safe_load(json.loads(body)["content"].split("---\n")[1])
        base = data.get("base_model", [])
        wrong = [b for b in ([base] if isinstance(base, str) else base) if not HUB_ID.fullmatch(b)]
        errors = [{"message": f'"base_model" with value "{b}" is not valid.'} for b in wrong]
        for result in data["model-index"][0]["results"]:
            assert result["task"]["type"] and result["dataset"]["name"] and result["dataset"]["type"]
            assert all("value" in metric and metric["type"] for metric in result["metrics"])
        return self.reply(400 if errors else 200, {"errors": errors, "warnings": []})

    def preupload(self, body: bytes):
        """Big files and weights go by LFS, the rest with the commit."""
        files = json.loads(body)["files"]
        modes = {
            f["path"]: "lfs" if f["path"].endswith(".safetensors") or f["size"] > 300_000 else "regular"
            for f in files
        }
        uploads = [{"path": p, "uploadMode": mode, "shouldIgnore": False} for p, mode in modes.items()]
        return self.reply(200, {"files": uploads})

    def batch(self, body: bytes):
        objects = json.loads(body)["objects"]
        for one in objects:
            one["actions"] = {"upload": {"href": f"{self.server.site.url}/lfs/{one['oid']}"}}
        return self.reply(200, {"transfer": "basic", "objects": objects})

    def commit(self, body: bytes):
        for line in map(json.loads, body.splitlines()):
            value = line["value"]
            if line["key"] == "header":
                self.hub.summaries.append(value["summary"])
            elif line["key"] == "file":
                self.hub.committed[value["path"]] = base64.b64decode(value["content"])
            elif line["key"] == "lfsFile":
                self.hub.committed[value["path"]] = self.hub.stored[value["oid"]]
                self.hub.lfs.add(value["path"])
            else:
                return self.reply(400, {"error": line["key"]})
        oid = "a" * 40
        url = self.server.site.url + self.path.split("/commit/")[0].removeprefix("/api/models")
        return self.reply(200, {"commitUrl": f"{url}/commit/{oid}", "commitOid": oid})


ROUTES = {
    "/api/repos/create": HubHandler.create,
    "/api/validate-yaml": HubHandler.validate,
    "/preupload/": HubHandler.preupload,
    "/info/lfs/objects/batch": HubHandler.batch,
    "/commit/": HubHandler.commit,
}


class HubServer(Server):
    """The Hub in a thread; `hub` has its repositories, files and requests."""

    def __init__(self) -> None:
        super().__init__()
        self.hub = Hub()
        bound = {"site": self.site, "hub": self.hub}
        self.RequestHandlerClass = type("BoundHub", (HubHandler,), bound)
