"""`python -m soliloquy weights …`: what it writes, says and refuses; the hub is on loopback."""

import hashlib
import http.server
import threading

import pytest
import torch
from soliloquy import weights_command
from soliloquy.__main__ import main
from soliloquy.models import catalogue
from soliloquy.models.catalogue import Weight

from .helpers import ROOT

CONTENT = bytes(range(256)) * 400  # 100 kB
HASH = hashlib.sha256(CONTENT).hexdigest()
FACTS = {"folder": "toys", "title": "Toy", "systems": ("toy",), "licence": "MIT"}


def toy(file="toy.safetensors", **facts):
    known = {"size": len(CONTENT), "sha256": HASH, "commercial": True}
    place = {"repository": "someone/toys", "revision": "a" * 40, "path": f"deep/{file}"}
    return Weight(**{"file": file, **FACTS, **known, **place, **facts})


class Hub(http.server.ThreadingHTTPServer):
    """Imitates the hub: HEAD and GET of `resolve`, with etag, size, redirect and ranges."""

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.files = {"toy.safetensors": CONTENT}
        self.cuts = []  # how many bytes the next answers give before the line goes dead
        self.failures = 0  # how many of the answers after those are 500
        self.requests = []  # (method, path, range)

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server_address[1]}"


class Handler(http.server.BaseHTTPRequestHandler):
    def log_message(self, *_):
        pass

    def do_HEAD(self):
        self.answer(send=False)

    def do_GET(self):
        self.answer(send=True)

    def answer(self, send):
        hub, wanted = self.server, self.headers.get("Range")
        if "/resolve/" in self.path:
            hub.requests.append((self.command, self.path, wanted))
        content = hub.files.get(self.path.rsplit("/", 1)[-1])
        if content is None:
            return self.send_error(404)
        if send and not hub.cuts and hub.failures:
            hub.failures -= 1
            return self.send_error(500)
        start = int(wanted.removeprefix("bytes=").rstrip("-")) if wanted else 0
        self.send_response(206 if wanted else 200)
        self.send_header("ETag", f'"{hashlib.sha256(content).hexdigest()}"')
        self.send_header("X-Repo-Commit", "a" * 40)
        self.send_header("X-Linked-Size", str(len(content)))
        self.send_header("Content-Length", str(len(content) - start))
        if wanted:
            self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        self.end_headers()
        if send:
            length = hub.cuts.pop(0) if hub.cuts else len(content)
            self.wfile.write(content[start : start + length])
        return None


@pytest.fixture
def hub(monkeypatch, tmp_path_factory):
    constants = pytest.importorskip("huggingface_hub.constants")
    monkeypatch.setattr(constants, "DOWNLOAD_CHUNK_SIZE", 1000)  # whole ones reach the disk
    server = Hub()
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    monkeypatch.setenv("HF_ENDPOINT", server.url)
    # The package looks this up once a day on the real hub, unless it is in its cache.
    cache = tmp_path_factory.mktemp("cache") / "harnesses.json"
    cache.write_text('{"standardEnvVars": [], "harnesses": {}}')
    monkeypatch.setattr(constants, "AGENT_HARNESSES_PATH", str(cache), raising=False)
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def rows(monkeypatch):
    def use(*weights):
        monkeypatch.setattr(catalogue, "CATALOGUE", weights)

    use(toy())
    return use


@pytest.fixture
def run(tmp_path, monkeypatch, capsys):
    """Runs a command line in an empty folder: exit code, stdout, stderr."""
    monkeypatch.chdir(tmp_path)

    def call(line: str) -> tuple[int, str, str]:
        return main(["weights", *line.split()]), *capsys.readouterr()

    return call


def files(folder):
    return sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file())


class TestFetch:
    def test_a_file_arrives_verified_in_its_folder(self, run, hub, rows, tmp_path):
        code, out, _ = run("fetch toy --folder models")
        assert code == 0
        assert "written, verified" in out
        assert files(tmp_path) == ["models/toys/toy.safetensors"]
        assert (tmp_path / "models/toys/toy.safetensors").read_bytes() == CONTENT
        assert {path for _, path, _ in hub.requests} == {
            f"/someone/toys/resolve/{'a' * 40}/deep/toy.safetensors"
        }

    def test_a_right_file_is_not_fetched_again_and_a_wrong_one_is(self, run, hub, rows, tmp_path):
        run("fetch toy.safetensors --folder .")
        count = len(hub.requests)
        assert "already there" in run("fetch toys/toy.safetensors --folder .")[1]
        assert len(hub.requests) == count
        (tmp_path / "toys/toy.safetensors").write_bytes(CONTENT[:-1])
        assert "written, verified" in run("fetch toy --folder .")[1]

    def test_a_line_that_goes_dead_is_continued_at_once(self, run, hub, rows, tmp_path):
        hub.cuts = [30_000]
        assert run("fetch toy --folder .")[0] == 0
        assert hub.requests[-1][2].startswith("bytes=")
        assert (tmp_path / "toys/toy.safetensors").read_bytes() == CONTENT

    def test_a_download_given_up_is_continued_by_the_next_call(self, run, hub, rows, tmp_path):
        hub.cuts, hub.failures = [30_000], 1
        code, _, error = run("fetch toy --folder .")
        assert code == 2
        assert "could not be downloaded" in error
        assert "Run the command again" in error
        (part,) = files(tmp_path)
        received = (tmp_path / part).stat().st_size
        assert part.endswith(".part")
        assert 0 < received <= 30_000
        assert run("fetch toy --folder .")[0] == 0
        assert hub.requests[-1][2] == f"bytes={received}-"
        assert files(tmp_path) == ["toys/toy.safetensors"]

    def test_an_interruption_keeps_what_arrived_and_says_so(
        self, run, hub, rows, tmp_path, monkeypatch
    ):
        from huggingface_hub import file_download

        def interrupted(content):
            def get(url, file, **_):
                file.write(content)
                raise KeyboardInterrupt

            return get

        monkeypatch.setattr(file_download, "http_get", interrupted(b""))
        code, _, error = run("fetch toy --folder .")
        assert (code, files(tmp_path)) == (130, [])
        assert "Of toy.safetensors nothing has arrived yet." in error
        monkeypatch.setattr(file_download, "http_get", interrupted(CONTENT[:1234]))
        code, _, error = run("fetch toy --folder .")
        (part,) = files(tmp_path)
        assert code == 130
        assert f"1,234 bytes of toy.safetensors stay in '{part}'" in error
        assert "run the command again to continue" in error

    def test_a_wrong_hash_is_thrown_away_and_what_was_there_stays(self, run, hub, rows, tmp_path):
        hub.files["toy.safetensors"] = CONTENT[::-1]
        (tmp_path / "toys").mkdir()
        (tmp_path / "toys/toy.safetensors").write_bytes(b"mine")
        code, _, error = run("fetch toy --folder .")
        assert code == 2
        assert "not the published file (wrong hash)" in error
        assert files(tmp_path) == ["toys/toy.safetensors"]
        assert (tmp_path / "toys/toy.safetensors").read_bytes() == b"mine"

    def test_another_size_is_refused_before_anything_is_downloaded(self, run, hub, rows, tmp_path):
        hub.files["toy.safetensors"] = CONTENT + b"more"
        code, _, error = run("fetch toy --folder .")
        assert code == 2
        assert "another file. Nothing was downloaded" in error
        assert [method for method, _, _ in hub.requests] == ["HEAD"]
        assert files(tmp_path) == []

    def test_where_the_catalogue_has_no_hash_the_stated_one_counts(self, run, hub, rows):
        rows(toy(size=None, sha256=""))
        assert "written, verified" in run("fetch toy --folder .")[1]
        assert "already there" in run("fetch toy --folder .")[1]

    def test_a_link_outside_the_hub_gets_no_token(self, run, hub, rows, monkeypatch, tmp_path):
        monkeypatch.setenv("HF_TOKEN", "hf_secret")
        seen = []
        monkeypatch.setattr(Handler, "do_GET", spy(seen))
        link = f"{hub.url}/toy.safetensors"
        rows(toy(repository="", path="", link=link))
        assert run("fetch toy --folder .")[0] == 0
        assert (tmp_path / "toys/toy.safetensors").read_bytes() == CONTENT
        assert seen == [None]
        rows(toy("other.safetensors"))
        hub.files["other.safetensors"] = CONTENT
        assert run("fetch toy --folder .")[0] == 0
        assert seen == [None, "Bearer hf_secret"]

    def test_a_server_that_gives_nothing_leaves_nothing(self, run, hub, rows, tmp_path):
        hub.failures = 1
        assert run("fetch toy --folder .")[0] == 2
        assert files(tmp_path) == []

    def test_an_absent_file_or_hub_is_one_sentence_with_the_link(self, run, hub, rows, monkeypatch):
        rows(toy("absent.safetensors"))
        code, _, error = run("fetch toy --folder .")
        assert (code, error.count("\n")) == (2, 1)
        assert "huggingface.co/someone/toys/resolve" in error
        monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
        assert "could not be downloaded" in run("fetch toy --folder .")[2]

    def test_a_page_for_people_is_named_instead(self, run):
        code, _, error = run("fetch mtov --folder models")
        assert code == 2
        assert "by hand into 'models/moditalker'" in error
        assert "autoencoder_rgb.pth from https://drive.google.com/" in error
        assert "diffusion_model.pth: Its authors withdrew this file" in error

    def test_what_can_be_fetched_is_and_the_rest_is_named_unless_it_is_there(
        self, run, hub, rows, tmp_path
    ):
        rows(toy(), toy("page.pth", by_hand=True, repository="", link="https://example.org"))
        code, _, error = run("fetch toy --folder .")
        assert code == 2
        assert (tmp_path / "toys" / "toy.safetensors").read_bytes() == CONTENT
        assert "page.pth from https://example.org" in error
        (tmp_path / "toys" / "page.pth").write_bytes(CONTENT)
        assert run("fetch toy --folder .")[0] == 0

    def test_without_the_package_the_sentence_says_what_to_install(self, run, rows, monkeypatch):
        monkeypatch.setitem(__import__("sys").modules, "huggingface_hub", None)
        code, _, error = run("fetch toy --folder .")
        assert code == 2
        assert "pip install huggingface_hub" in error


def spy(seen):
    def do_get(self):
        seen.append(self.headers.get("Authorization"))
        self.answer(send=True)

    return do_get


class TestFolders:
    def test_the_host_around_the_package_is_found(self, tmp_path, monkeypatch):
        monkeypatch.setenv("COMFYUI_PATH", str(tmp_path / "other"))
        package = tmp_path / "ComfyUI" / "custom_nodes" / "soliloquy"
        monkeypatch.setattr(weights_command, "PACKAGE", package)
        (tmp_path / "ComfyUI" / "models").mkdir(parents=True)
        assert weights_command.models_folder() == tmp_path / "ComfyUI" / "models"

    def test_without_a_host_the_folder_must_be_named(self, run, rows, tmp_path, monkeypatch):
        monkeypatch.setenv("COMFYUI_PATH", str(tmp_path / "absent"))
        code, _, error = run("fetch toy")
        assert code == 2
        assert "--folder DIR" in error


class TestVerify:
    def test_one_line_per_file_and_exit_code_2_for_a_bad_one(self, run, rows, tmp_path):
        rows(toy(), toy("cut.safetensors"))
        (tmp_path / "toy.safetensors").write_bytes(CONTENT)
        (tmp_path / "notes.txt").write_text("none of our business")
        code, out, _ = run("verify .")
        assert (code, out.count("\n")) == (0, 1)
        assert out.startswith("ok ")
        (tmp_path / "cut.safetensors").write_bytes(CONTENT[:9])
        code, out, error = run("verify .")
        assert (code, out.count("\n")) == (2, 2)
        assert "wrong size  cut.safetensors: It has 9 bytes, not 102,400" in out
        assert "1 of 2 files" in error

    def test_without_a_known_hash_a_file_is_read(self, run, rows, tmp_path):
        rows(toy("toy.pth", size=None, sha256=""))
        torch.save({"a": torch.ones(1)}, tmp_path / "toy.pth")
        assert "It can be read: 1 entries." in run("verify toy.pth")[1]
        (tmp_path / "toy.pth").write_bytes(b"no weights")
        code, out, _ = run("verify toy.pth")
        assert code == 0
        assert "cannot be read as weights" in out

    def test_a_system_means_its_files_in_the_host(self, run, rows, tmp_path, monkeypatch):
        monkeypatch.setenv("COMFYUI_PATH", str(tmp_path))
        rows(toy(), toy("gone.pth", note="Nobody has it."))
        (tmp_path / "models" / "toys").mkdir(parents=True)
        assert "None of these files" in run("verify toy")[2]
        (tmp_path / "models" / "toys" / "toy.safetensors").write_bytes(CONTENT)
        code, out, _ = run("verify toy")
        assert code == 0
        absent, present = out.splitlines()
        assert absent.startswith("absent ")
        assert absent.endswith("Nobody has it.")
        assert present.startswith("ok ")

    def test_empty_folders_and_absent_files_are_errors(self, run):
        assert run("verify .")[2].startswith("soliloquy: There are no weight files")
        assert "There is no file 'absent.pth'" in run("verify absent.pth")[2]


class TestConvert:
    def test_the_networks_found_are_named(self, run, tmp_path):
        from soliloquy.models.formats import find_format

        markers = find_format("liveportrait/appearance").markers
        torch.save({key: torch.ones(2) for key in markers}, tmp_path / "a.pth")
        code, out, _ = run("convert a.pth -o b.safetensors")
        assert code == 0
        assert out.startswith("b.safetensors: LivePortrait appearance extractor; 2 tensors")

    def test_an_unreadable_file_is_one_sentence(self, run, tmp_path):
        (tmp_path / "a.pth").write_bytes(b"\x80\x02.")
        code, _, error = run("convert a.pth")
        assert (code, error.count("\n")) == (2, 1)


class TestList:
    def test_every_file_is_listed_with_licence_folder_and_link(self, run):
        out = run("list")[1]
        for row in catalogue.CATALOGUE:
            assert row.name in out
            assert row.url in out
        assert "CC-BY-NC-4.0, non-commercial" in run("list kdtalker")[1]
        assert "Its authors withdrew this file" in run("list moditalker")[1]

    def test_the_readme_has_the_table(self, run):
        table = run("list --markdown liveportrait kdtalker")[1].strip()
        assert table.count("\n") == 8
        assert "**CC-BY-NC-4.0, non-commercial**" in table
        readme = ROOT / "README.md"
        if not readme.exists():
            pytest.skip("there is no README.md here")
        assert table in readme.read_text(encoding="utf-8")
