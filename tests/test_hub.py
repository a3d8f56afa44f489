"""What is sent to the hub: the files of the model, and nothing else of the run."""

import json
import os
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

import myosotis
from myosotis.engine.checkpoint import sealed_directory
from myosotis.engine.errors import InputError


class Hub(BaseHTTPRequestHandler):
    """As much of the hub's interface as an upload of small files needs; keeps what it is sent."""

    def do_GET(self):
        self.answer({"id": "me/model", "sha": "0" * 40, "siblings": [], "private": True})

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.received.append((self.path, body))
        if "preupload" in self.path:
            files = [
                {"path": file["path"], "uploadMode": "regular", "shouldIgnore": False, "oid": None}
                for file in json.loads(body)["files"]
            ]
            self.answer({"files": files})
        elif "commit" in self.path:
            self.answer(
                {
                    "commitUrl": f"http://{self.headers['Host']}/me/model/commit/1",
                    "commitOid": "1" * 40,
                    "pullRequestUrl": None,
                }
            )
        else:
            self.answer({"url": f"http://{self.headers['Host']}/me/model", "name": "me/model"})

    def answer(self, content):
        text = json.dumps(content).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, *_):
        """Keep the log of tests free of requests."""


@pytest.fixture
def hub():
    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    server.received = []
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


@pytest.fixture
def run(tmp_path):
    path = tmp_path / "run"
    path.mkdir()
    (path / "salt").write_text("secret")
    (path / "config.yaml").write_text("name: private\n")
    with sealed_directory(path / "model") as staged:
        (staged / "model.safetensors").write_bytes(b"\0" * 16)
    (path / "model" / "README.md").write_text("# card\n")  # written when the figures are there, so not sealed
    (path / "model" / "notes.txt").write_text("put there by hand")
    return path


def test_the_sealed_files_and_the_card_are_sent_and_nothing_else(hub, run):
    code = "import sys, myosotis; myosotis.push_to_hub(sys.argv[1], 'me/model', token='hf_x')"
    environment = {**os.environ, "HF_ENDPOINT": f"http://127.0.0.1:{hub.server_port}", "HF_HUB_DISABLE_TELEMETRY": "1"}
    environment.pop("HF_HUB_OFFLINE", None)
    subprocess.run([sys.executable, "-c", code, str(run)], env=environment, check=True)
    made = next(json.loads(body) for path, body in hub.received if path.endswith("/repos/create"))
    assert made.get("visibility", "private" if made.get("private") else "public") == "private"
    sent = next(body for path, body in hub.received if "/commit/" in path).decode()
    files = [json.loads(line)["value"]["path"] for line in sent.splitlines() if '"file"' in line]
    assert sorted(files) == ["README.md", "manifest.json", "model.safetensors"]


def test_a_run_without_a_complete_model_is_refused(run):
    (run / "model" / "model.safetensors").write_bytes(b"\1" * 16)
    with pytest.raises(InputError, match="has no complete model/ to send"):
        myosotis.push_to_hub(run, "me/model")
