"""A real ComfyUI for tests: started on the CPU in a folder of its own, spoken to over HTTP."""

import json
import os
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path
from urllib.error import HTTPError, URLError
from urllib.request import Request, urlopen

import pytest

from ..helpers import ROOT

NEEDED = "import aiohttp, torchsde, comfyui_frontend_package"
START_SECONDS = 180
FOLDERS = ("custom_nodes", "input", "output", "temp", "user", "models/soliloquy")


def find_host():
    """The checkout and its Python, or a skip that says what is missing."""
    root = Path(os.environ.get("COMFYUI_PATH", Path.home() / "comfy" / "ComfyUI"))
    if not (root / "main.py").is_file():
        pytest.skip(f"no ComfyUI in {root}; set COMFYUI_PATH")
    usual = [str(p) for p in (root / ".venv/bin/python", root / "venv/bin/python") if p.exists()]
    python = os.environ.get("COMFYUI_PYTHON") or [*usual, sys.executable][0]
    if subprocess.run([python, "-c", NEEDED], capture_output=True).returncode:
        pytest.skip(f"{python} lacks ComfyUI's requirements; set COMFYUI_PYTHON")
    return root, python


class ComfyUI:
    """A context manager: the server runs inside."""

    def __init__(self, base, *options):
        self.root, self.python = find_host()
        self.base, self.options = Path(base), options
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        for folder in FOLDERS:
            (self.base / folder).mkdir(parents=True, exist_ok=True)
        (self.base / "custom_nodes" / "soliloquy").symlink_to(ROOT)
        self.log = self.base / "server.log"

    def __enter__(self):
        command = [self.python, "main.py", "--cpu", "--base-directory", str(self.base)]
        command += ["--port", str(self.port), "--disable-auto-launch", "--dont-print-server"]
        command += ["--disable-api-nodes", "--database-url", "sqlite:///:memory:", *self.options]
        with self.log.open("w") as log:
            self.process = subprocess.Popen(command, cwd=self.root, stdout=log, stderr=log)
        try:
            self._wait_until_it_answers()
        except BaseException:
            self.__exit__()
            raise
        return self

    def _wait_until_it_answers(self):
        end = time.monotonic() + START_SECONDS
        while time.monotonic() < end and self.process.poll() is None:
            try:
                self.get("/system_stats")
                return
            except (URLError, ConnectionError):
                time.sleep(0.5)
        pytest.fail(f"ComfyUI did not start:\n{self.log.read_text()[-3000:]}")

    def __exit__(self, *_):
        self.process.terminate()
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()

    def get(self, path):
        """The answer of the server, JSON decoded."""
        with urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=30) as answer:
            return json.loads(answer.read())

    def text(self, path):
        """The answer of the server as text."""
        with urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=30) as answer:
            return answer.read().decode()

    def post(self, path, value):
        """The answer to a posted value; what the server refuses fails the test with its reason."""
        data = json.dumps(value).encode()
        headers = {"Content-Type": "application/json"}
        request = Request(f"http://127.0.0.1:{self.port}{path}", data, headers)
        try:
            with urlopen(request, timeout=60) as answer:
                body = answer.read()
        except HTTPError as error:
            pytest.fail(f"{path}: {error.read().decode()[:2000]}")
        return json.loads(body) if body else None

    def queue(self, prompt):
        """Start a graph; its id."""
        return self.post("/prompt", {"prompt": prompt})["prompt_id"]

    def wait(self, prompt_id, seconds=600):
        """What the host remembers of a graph that has ended, well or not."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            history = self.get(f"/history/{prompt_id}")
            if prompt_id in history:
                return history[prompt_id]
            if self.process.poll() is not None:
                break
            time.sleep(0.2)
        pytest.fail(f"the graph did not end:\n{self.log.read_text()[-3000:]}")

    def run(self, prompt, seconds=600):
        """The outputs of a graph, by node id; an error in it fails the test."""
        entry = self.wait(self.queue(prompt), seconds)
        assert entry["status"]["status_str"] == "success", entry["status"]["messages"][-1]
        return entry["outputs"]

    def saved(self, outputs, node):
        """The first file that a node has saved."""
        shown = outputs[node]["images"][0]
        return self.base / shown["type"] / shown["subfolder"] / shown["filename"]

    def add_input(self, file, name):
        """Copy a file into the input folder."""
        shutil.copy(file, self.base / "input" / name)
