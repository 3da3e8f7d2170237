import re

import pytest
import torch
from soliloquy.models.payloads import PayloadError
from torch import nn

from .loaded import NODES, comfy_entrypoint, host, host_double


@pytest.fixture(autouse=True)
def state(tmp_path):
    host_double.STATE.reset(tmp_path)
    return host_double.STATE


def test_fields_that_an_old_host_lacks_are_dropped():
    made = host.schema(node_id="X", search_aliases=["y"], is_dev_only=True)
    assert made.node_id == "X"
    assert not hasattr(made, "search_aliases")


def test_advanced_reaches_the_frontend_without_an_argument_for_it():
    widget = host.advanced(host.io.Int.Input("steps", default=1))
    assert widget.as_dict()["advanced"] is True


class System:
    def __init__(self):
        self.network = nn.Linear(2, 2)
        self.device = None


def test_networks_of_a_system_get_patchers_and_are_loaded_before_use(state):
    managed = host.Managed(System())
    assert [patcher.model for patcher in managed.get_models()] == [managed.system.network]
    assert state.loaded == []
    assert managed.ready() is managed.system
    assert state.loaded == managed.get_models()
    assert managed.system.device == torch.device("cpu")


def test_networks_in_a_dictionary_are_found_too():
    system = System()
    system.networks = {"a": nn.Linear(1, 1), "b": nn.Linear(1, 1)}
    assert len(host.Managed(system).get_models()) == 3


@pytest.mark.parametrize(
    ("stage", "name", "file"),
    [
        ("speech", "wav2lip", "wav2lip.pth"),
        ("motion", "kdtalker", "KDTalker.pth"),
        ("render", "liveportrait", "spade_generator.safetensors"),
    ],
)
def test_absent_weights_are_named_with_folder_link_and_licence(stage, name, file, tmp_path):
    host.register_model_folders()
    with pytest.raises(PayloadError) as error:
        host.load_system(stage, name)
    lines = str(error.value).splitlines()
    at = next(i for i, line in enumerate(lines) if line.strip().startswith(file))
    heading = [line for line in lines[:at] if line.startswith("Th")][-1]
    folder = "liveportrait" if stage == "render" else "kdtalker"
    assert f"'{(tmp_path / 'models' / folder).as_posix()}'" in heading
    assert lines[at + 1].strip().startswith("https://")
    assert ("non-commercial" in lines[at]) == (stage != "render")


def test_weights_are_found_in_folders_that_the_user_configured(tmp_path, monkeypatch):
    import folder_paths

    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "wav2lip.pth").touch()
    folder_paths.folder_names_and_paths["kdtalker"] = ([str(tmp_path / "elsewhere")], set())
    host.register_model_folders()
    given = {}
    monkeypatch.setattr(
        host.formats.System, "load", lambda self, **options: given.update(options) or System()
    )
    host.load_system("speech", "wav2lip")
    assert given["path"] == tmp_path / "elsewhere" / "wav2lip.pth"


def test_only_systems_with_files_have_licence_notes_and_non_commercial_ones_are_marked():
    assert host.licence_notes("motion", "starter") == []
    (note,) = host.licence_notes("motion", "kdtalker")
    assert "CC-BY-NC-4.0, non-commercial" in note
    assert "LivePortrait: MIT." in host.licence_notes("render")


def test_progress_shows_a_small_picture_and_stops_when_the_user_interrupts(state):
    report = host.progress()
    report(1, 4, torch.zeros(2000, 1000, 3, dtype=torch.uint8))
    report(2, 4)
    assert state.reports == [(1, 4, True), (2, 4, False)]
    state.interrupt_after = 2
    with pytest.raises(host_double.InterruptProcessingException):
        report(3, 4)


def test_pictures_drop_alpha_repeat_grey_and_leave_the_input_alone():
    image = torch.rand(2, 4, 6, 4, dtype=torch.float16) * 2 - 0.5
    before = image.clone()
    made = host.pictures(image)
    assert made.shape == (2, 4, 6, 3)
    assert made.dtype == torch.uint8
    assert torch.equal(image, before)
    assert host.pictures(torch.ones(1, 2, 2, 1)).unique().tolist() == [255]
    with pytest.raises(PayloadError, match="2 × 2 × 3 was given"):
        host.pictures(torch.ones(2, 2, 3))


def test_frames_become_one_image_and_must_be_complete():
    batches = [torch.full((2, 3, 4, 3), 255, dtype=torch.uint8), torch.zeros(1, 3, 4, 3).byte()]
    image = host.image_output(iter(batches), 3)
    assert image.shape == (3, 3, 4, 3)
    assert image[:2].unique().tolist() == [1.0]
    with pytest.raises(PayloadError, match="made 3 frames where 4"):
        host.image_output(iter(batches), 4)
    with pytest.raises(PayloadError, match="more than the 2"):
        host.image_output(iter(batches), 2)


def test_sound_takes_one_waveform_and_says_what_is_wrong_otherwise():
    waveform, rate = host.sound({"waveform": torch.zeros(1, 2, 10), "sample_rate": 8000})
    assert waveform.shape == (2, 10)
    assert rate == 8000
    with pytest.raises(PayloadError, match="no sound"):
        host.sound(None)
    with pytest.raises(PayloadError, match="batch of 2"):
        host.sound({"waveform": torch.zeros(2, 1, 10), "sample_rate": 8000})


def test_a_mask_of_another_size_is_refused_with_the_reason():
    assert host.masks(None, 2, (4, 6)) == [None, None]
    assert [m.shape for m in host.masks(torch.ones(1, 4, 6), 2, (4, 6))] == [(4, 6), (4, 6)]
    with pytest.raises(PayloadError, match="64×64"):
        host.masks(torch.zeros(1, 64, 64), 1, (4, 6))


def test_the_model_folder_is_added_to_what_the_user_configured():
    import folder_paths

    folder_paths.folder_names_and_paths["soliloquy"] = (["elsewhere"], set())
    host.register_model_folders()
    paths, extensions = folder_paths.folder_names_and_paths["soliloquy"]
    assert paths[0] == "elsewhere"
    assert len(paths) == 2
    assert ".task" in extensions


def test_model_files_are_found_in_every_folder(tmp_path):
    host.register_model_folders()
    assert host.find_model_file("face_landmarker.task") is None
    file = tmp_path / "models" / "detection" / "face_landmarker.task"
    file.parent.mkdir()
    file.touch()
    assert host.find_model_file("face_landmarker.task") == file


def test_input_files_stay_inside_the_hosts_folders(tmp_path):
    (tmp_path / "input" / "a.json").write_text("{}")
    saved = tmp_path / "output" / "soliloquy"
    saved.mkdir()
    (saved / "b.csv").write_text("")
    (tmp_path / "secret.json").write_text("{}")
    assert host.input_files(".json", ".csv") == ["a.json", "soliloquy/b.csv [output]"]
    assert host.input_file("a.json") == tmp_path / "input" / "a.json"
    assert host.input_file("soliloquy/b.csv [output]") == saved / "b.csv"
    for name in ("../secret.json", str(tmp_path / "secret.json"), "../secret.json [output]"):
        with pytest.raises(PayloadError, match="leads out of"):
            host.input_file(name)
    for name in ("c.json", ""):
        with pytest.raises(PayloadError, match="There is no file"):
            host.input_file(name)


def test_output_files_are_numbered_and_stay_inside(tmp_path):
    first, shown = host.output_file("soliloquy/motion", ".json")
    first.touch()
    second, _ = host.output_file("soliloquy/motion", ".json")
    assert first != second
    assert first.parent == tmp_path / "output" / "soliloquy"
    assert shown["filename"] == first.name
    with pytest.raises(PayloadError, match="outside"):
        host.output_file("../escape", ".json")


def test_the_entry_point_lists_every_node_and_registers_the_folder():
    import asyncio

    import folder_paths

    extension = asyncio.run(comfy_entrypoint())
    assert asyncio.run(extension.get_node_list()) == list(NODES)
    assert "soliloquy" in folder_paths.folder_names_and_paths


SCHEMAS = [node.GET_SCHEMA() for node in NODES]


@pytest.mark.parametrize("schema", SCHEMAS, ids=lambda schema: schema.node_id)
def test_schemas_follow_the_house_rules(schema):
    assert re.fullmatch(r"Soliloquy[A-Z][A-Za-z]+", schema.node_id)
    stages = "portrait|speech|keyframes|motion|noise|render|inspect"
    assert re.fullmatch(rf"Soliloquy/({stages})", schema.category)
    assert schema.display_name
    assert schema.description.endswith(".")
    for entry in [*schema.inputs, *schema.outputs]:
        assert entry.tooltip, f"{entry.id} has no tooltip"
        assert entry.tooltip.endswith("."), entry.id
    assert all(output.display_name for output in schema.outputs)
    optional = [entry.optional for entry in schema.inputs]
    assert optional == sorted(optional), "optional inputs come last"


@pytest.mark.parametrize("node", NODES, ids=lambda node: node.__name__)
def test_ids_are_those_of_the_classes_and_executes_are_thin(node):
    import inspect as python

    assert node.GET_SCHEMA().node_id == f"Soliloquy{node.__name__}"
    lines = python.getsource(node.execute.__func__).splitlines()
    assert len(lines) <= 30, "20 lines of body and what the signature takes"
    parameters = python.signature(node.execute).parameters.values()
    named = {p.name for p in parameters if p.kind != p.VAR_KEYWORD}
    inputs = {entry.id for entry in node.GET_SCHEMA().inputs}
    assert named == inputs or (named < inputs and len(named) < len(parameters))


@pytest.mark.parametrize("node", NODES, ids=lambda node: node.__name__)
def test_every_default_is_a_value_that_its_widget_takes(node):
    for entry in node.GET_SCHEMA().inputs:
        options = entry.as_dict()
        if entry.io_type in ("INT", "FLOAT"):
            assert options["min"] <= options["default"] <= options["max"], entry.id
        if entry.io_type == "COMBO" and options.get("options"):
            assert options.get("default", options["options"][0]) in options["options"]


@pytest.mark.parametrize("schema", SCHEMAS, ids=lambda schema: schema.node_id)
def test_every_node_has_a_help_page_that_names_its_sockets(schema):
    from ..helpers import ROOT

    page = (ROOT / "web" / "docs" / f"{schema.node_id}.md").read_text(encoding="utf-8")
    assert page.startswith(f"# {schema.display_name}\n")
    for entry in [*schema.inputs, *schema.outputs]:
        shown = entry.display_name or entry.id
        assert f"| {shown} " in page or f"`{shown}`" in page, f"{schema.node_id}: {shown}"


def test_the_english_locale_is_what_the_schemas_say(tmp_path):
    from ..helpers import ROOT
    from .locale import english

    made = tmp_path / "nodeDefs.json"
    made.write_text(english(SCHEMAS), encoding="utf-8")
    kept = ROOT / "locales" / "en" / "nodeDefs.json"
    assert kept.read_text(encoding="utf-8") == made.read_text(encoding="utf-8"), f"copy {made}"


def test_a_renderer_computes_in_half_precision_where_the_host_would(monkeypatch):
    given = {}
    monkeypatch.setattr(host.formats.System, "find_weights", lambda self, roots: {})
    monkeypatch.setattr(
        host.formats.System, "load", lambda self, **options: given.update(options) or System()
    )
    monkeypatch.setattr(
        host.comfy.model_management, "should_use_fp16", lambda device: True, raising=False
    )
    host.load_system("motion", "kdtalker")
    assert "dtype" not in given
    host.load_system("render", "liveportrait")
    assert given["dtype"] == torch.float16
