"""Rules of this house that a machine can check: arrows point one way, sizes stay small."""

import ast
import json
import re
import sys
from pathlib import Path

import pytest

from .helpers import ROOT

if sys.version_info >= (3, 11):
    import tomllib
else:
    tomllib = None

IMPORTED_BY_HOST = sorted(
    [ROOT / "__init__.py", *(ROOT / "nodes").rglob("*.py"), *(ROOT / "models").rglob("*.py")]
)
SHIPPED = sorted(
    [
        *IMPORTED_BY_HOST,
        ROOT / "__main__.py",
        *ROOT.glob("weights_*.py"),
        *(ROOT / "training").rglob("*.py"),
        *(ROOT / "benchmarks").rglob("*.py"),
    ]
)
FORBIDDEN = {
    r"(?<![\w.])print\(": "a print",
    r"\.cuda\(|[\"']cuda[\"':]": "a device by name",
    r"\bsubprocess\b|os\.system": "a process",
    r"os\.environ|putenv": "an edit of the environment",
    r"\burllib\b|\brequests\b|\bsocket\b|huggingface_hub": "the network",
    r"\bpickle\b": "pickle",
    r"(?<![\w.])(eval|exec)\(": "eval or exec",
    r"sys\.path": "an edit of the import path",
    r"load_state_dict\(.*strict=False": "a load that is not strict",
    r"unload_all_models": "throwing out other people's models",
}
DRAWERS = {"utils.py", "util.py", "common.py", "misc.py", "helpers.py"}
MAX_FILE, MAX_FUNCTION = 400, 60


def relative(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def code_of(path: Path) -> str:
    """The file without docstrings and comments: rules are about what runs."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        documented = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
        if isinstance(node, documented) and ast.get_docstring(node) is not None:
            node.body = node.body[1:] or [ast.Pass()]
    return ast.unparse(tree)


def imports_of(path: Path) -> set[str]:
    """Dotted names of everything a file imports, relative ones as paths from the root."""
    names = set()
    package = path.relative_to(ROOT).parent.parts
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else ()
            stem = [*(("@",) if node.level else ()), *base, *((node.module or "").split("."))]
            module = ".".join(part for part in stem if part)
            names |= {module, *(f"{module}.{alias.name}" for alias in node.names)}
    return names


def starts_with(names: set[str], *roots: str) -> set[str]:
    return {n for n in names if any(n == root or n.startswith(f"{root}.") for root in roots)}


@pytest.mark.parametrize("path", SHIPPED, ids=relative)
def test_imports_inside_the_package_are_relative(path):
    assert not starts_with(imports_of(path), "soliloquy")


@pytest.mark.parametrize("path", sorted((ROOT / "models").rglob("*.py")), ids=relative)
def test_models_know_neither_host_nor_nodes_nor_training(path):
    host = ("comfy", "comfy_api", "comfy_extras", "folder_paths", "@.nodes", "@.training")
    assert not starts_with(imports_of(path), *host)


@pytest.mark.parametrize("path", sorted((ROOT / "nodes").rglob("*.py")), ids=relative)
def test_only_the_host_file_and_schemas_touch_the_host(path):
    names = imports_of(path)
    assert not starts_with(names, "@.training")
    if path.name != "host.py":
        assert not starts_with(names, "comfy", "comfy_api", "comfy_extras", "folder_paths")


@pytest.mark.parametrize("path", IMPORTED_BY_HOST, ids=relative)
def test_what_the_host_imports_stays_clean(path):
    code = code_of(path)
    found = [what for pattern, what in FORBIDDEN.items() if re.search(pattern, code)]
    if path.name != "checkpoints.py" and re.search(r"torch\.load\(", code):
        found.append("torch.load outside checkpoints.py")
    assert not found


@pytest.mark.parametrize("path", SHIPPED, ids=relative)
def test_files_and_functions_stay_small(path):
    source = path.read_text(encoding="utf-8")
    assert len(source.splitlines()) <= MAX_FILE
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            lines = (node.end_lineno or 0) - node.lineno + 1
            assert lines <= MAX_FUNCTION or node.name == "define_schema", f"{node.name}: {lines}"


def test_there_are_no_drawers():
    assert not [relative(path) for path in SHIPPED if path.name in DRAWERS]


@pytest.mark.parametrize("folder", ["models", "nodes"])
def test_every_module_has_a_test_of_the_same_name(folder):
    # Rows of tables are tested with the table: test_formats.py, test_catalogue.py.
    exempt = {"__init__.py", "sockets.py", "published.py"}
    modules = [
        p
        for p in (ROOT / folder).rglob("*.py")
        if p.name not in exempt and p.parent.name != "layouts"
    ]
    absent = [
        relative(path)
        for path in modules
        if not (ROOT / "tests" / path.relative_to(ROOT).parent / f"test_{path.name}").exists()
    ]
    assert not absent


def test_requirements_repeat_the_dependencies_and_pin_nothing():
    if tomllib is None:
        pytest.skip("reading pyproject.toml needs Python 3.11")
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    required = (ROOT / "requirements.txt").read_text(encoding="utf-8").split()
    assert required == project["dependencies"]
    extras = [name for group in project["optional-dependencies"].values() for name in group]
    assert not [name for name in required + extras if re.search(r"[=<>~!@]", name)]
    assert project["version"] in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")


def test_bundled_weights_name_no_folder_of_the_machine_that_made_them():
    for file in (ROOT / "weights").glob("*.safetensors"):
        length = int.from_bytes(file.read_bytes()[:8], "little")
        header = json.loads(file.read_bytes()[8 : 8 + length])
        told = " ".join(header.get("__metadata__", {}).values())
        assert not re.findall(r"['\"](?:/|~|[A-Za-z]:\\)[^'\"]*", told), file.name


def test_bundled_weights_are_small_and_have_a_card_each():
    weights = list((ROOT / "weights").glob("*.safetensors"))
    assert weights
    assert sum(file.stat().st_size for file in weights) <= 16 * 2**20
    assert not [file.name for file in weights if not file.with_suffix(".md").exists()]


def test_no_machine_path_is_in_the_repository():
    tracked = [p for p in ROOT.rglob("*") if p.suffix in {".py", ".md", ".json", ".toml", ".txt"}]
    hidden = re.compile(r"(^|/)(\.|[^/]*\.egg-info|build|runs)")
    path = re.compile(r"(?<![\w.])/(work|root|tmp|home)/")
    assert not [
        relative(file)
        for file in tracked
        if not hidden.search(relative(file))
        and file != Path(__file__)
        and path.search(file.read_text(encoding="utf-8"))
    ]
