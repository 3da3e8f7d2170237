import json

import pytest
import torch
from soliloquy.models.payloads import PayloadError
from soliloquy.models.portrait.mapping import mean_landmarks

from .loaded import host, host_double
from .loaded import portrait as nodes


@pytest.fixture(autouse=True)
def state(tmp_path):
    host_double.STATE.reset(tmp_path)
    host.register_model_folders()
    return host_double.STATE


def face_at(x, y, width):
    """68 landmarks of the mean face, as a JSON file holds them."""
    points = mean_landmarks() * width + torch.tensor([x, y, 0.0])
    return {"landmarks68": points.tolist()}


def flat(face):
    """The points as the host's FACE_LANDMARKS hold them."""
    return [point[:2] for point in face["landmarks68"]]


def prepare(image, **inputs):
    values = {"face_index": 0, "crop_scale": 2.3, "landmarks_file": "", **inputs}
    with torch.inference_mode():
        return nodes.PreparePortrait.execute(image, **values)


def test_a_landmark_file_needs_no_detector_and_the_image_stays(tmp_path, state):
    (tmp_path / "input" / "face.json").write_text(json.dumps(face_at(100, 90, 50)))
    image = torch.rand(1, 200, 220, 3)
    before = image.clone()
    output = prepare(image, landmarks_file="face.json")
    (portrait,) = output.result[0]
    assert torch.equal(image, before)
    assert portrait.size == (200, 220)
    assert portrait.interocular == pytest.approx(50, abs=1)
    assert output.ui.as_dict()["text"][0].startswith("1 face in 220×200")
    assert state.said == [output.ui.value]


def test_a_landmark_file_is_read_again_once_it_changes(tmp_path):
    fingerprint = nodes.PreparePortrait.fingerprint_inputs
    assert fingerprint(landmarks_file="", face_index=0) == ""
    file = tmp_path / "input" / "face.json"
    file.write_text("[]")
    before = fingerprint(landmarks_file="face.json")
    file.write_text("[ ]")
    assert fingerprint(landmarks_file="face.json") != before


def test_a_batch_gives_one_portrait_each_with_its_own_landmarks(tmp_path):
    frames = [[{"landmarks_xy": flat(face_at(x, 90, 50))}] for x in (80, 120)]
    given = {"frames": frames, "image_size": (200, 220)}
    portraits = prepare(torch.rand(2, 200, 220, 3), face_landmarks=given).result[0]
    centres = [float(p.landmarks[:, 0].mean()) for p in portraits]
    assert centres[1] - centres[0] == pytest.approx(40, abs=1)
    with pytest.raises(PayloadError, match="of 2 pictures came with 1"):
        prepare(torch.rand(1, 200, 220, 3), face_landmarks=given)


def test_the_face_index_counts_by_size(tmp_path):
    faces = [face_at(60, 90, 30), face_at(160, 90, 50)]
    (tmp_path / "input" / "two.json").write_text(json.dumps(faces))
    image = torch.rand(1, 200, 220, 3)
    first = prepare(image, landmarks_file="two.json").result[0][0]
    second = prepare(image, landmarks_file="two.json", face_index=1).result[0][0]
    assert first.interocular > second.interocular
    assert first.num_faces == second.num_faces == 2
    with pytest.raises(PayloadError, match="Face 2 was asked for"):
        prepare(image, landmarks_file="two.json", face_index=2)


def test_a_mask_becomes_part_of_the_portrait(tmp_path):
    (tmp_path / "input" / "face.json").write_text(json.dumps(face_at(100, 90, 50)))
    mask = torch.zeros(1, 200, 220)
    mask[:, :100] = 1
    image = torch.rand(1, 200, 220, 3)
    (portrait,) = prepare(image, landmarks_file="face.json", mask=mask).result[0]
    assert torch.equal(portrait.mask, mask[0])


def test_the_hosts_own_detector_is_asked_where_its_weights_are(tmp_path, monkeypatch):
    face = {"landmarks_xy": flat(face_at(100, 90, 50))}
    found = {"frames": [[face]], "image_size": (200, 220)}
    asked = []

    class Loader:
        @classmethod
        def execute(cls, name):
            asked.append(name)
            return host_double.NodeOutput("model")

    class Detector:
        @classmethod
        def execute(cls, model, image, **options):
            assert options["num_faces"] == 0
            return host_double.NodeOutput(found, [])

    host_double.module("comfy_extras")
    host_double.module(
        "comfy_extras.nodes_mediapipe",
        LoadMediaPipeFaceLandmarker=Loader,
        MediaPipeFaceLandmarker=Detector,
    )
    weights = tmp_path / "models" / "detection" / host.CORE_LANDMARKER
    weights.parent.mkdir()
    weights.touch()
    (portrait,) = prepare(torch.rand(1, 200, 220, 3)).result[0]
    assert asked == [host.CORE_LANDMARKER]
    assert portrait.num_faces == 1


def test_without_any_detector_the_error_says_what_belongs_where(monkeypatch, tmp_path):
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    with pytest.raises(PayloadError, match=r"detection.*soliloquy.*s3fd"):
        prepare(torch.rand(1, 64, 64, 3))


def test_interrupting_stops_between_the_pictures_of_a_batch(tmp_path, state):
    (tmp_path / "input" / "face.json").write_text(json.dumps(face_at(100, 90, 50)))
    state.interrupt_after = 1
    with pytest.raises(host_double.InterruptProcessingException):
        prepare(torch.rand(3, 200, 220, 3), landmarks_file="face.json")
    assert len(state.reports) == 1
