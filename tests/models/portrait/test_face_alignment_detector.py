"""face-alignment starts only when its files are there or may be fetched."""

import socket

import pytest
import torch
from soliloquy.models.payloads import PayloadError
from soliloquy.models.portrait import face_alignment_detector
from soliloquy.models.portrait.mapping import mean_face, to_68

IMAGE = torch.zeros(64, 64, 3, dtype=torch.uint8)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """An empty folder of torch.hub, and no network."""

    def refuse(*arguments, **options):
        raise AssertionError("the network was touched")

    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    return tmp_path / "checkpoints"


def test_the_error_names_both_files_and_their_folder(folder):
    with pytest.raises(PayloadError) as caught:
        face_alignment_detector.detect(IMAGE)
    for part in ("s3fd-619a316812.pth", "3DFAN4", "https://", str(folder)):
        assert part in str(caught.value)


def test_files_that_are_there_are_not_missing(folder):
    names = face_alignment_detector.missing_files()
    assert len(names) == 2
    folder.mkdir()
    (folder / names[0]).write_bytes(b"")
    assert face_alignment_detector.missing_files() == names[1:]


def test_a_broken_file_is_an_error_in_a_sentence(folder):
    folder.mkdir()
    for name in face_alignment_detector.missing_files():
        (folder / name).write_bytes(b"broken")
    with pytest.raises(PayloadError, match="cannot open its weights"):
        face_alignment_detector.detect(IMAGE)


def test_a_download_that_fails_says_what_to_put_where(folder, monkeypatch):
    import face_alignment

    def unreachable(*arguments, **options):
        raise OSError("no network")

    monkeypatch.setattr(face_alignment, "FaceAlignment", unreachable)
    with pytest.raises(PayloadError, match=r"\(no network\)\. Put s3fd-619a316812\.pth"):
        face_alignment_detector.detect(IMAGE, allow_download=True)


def test_its_flat_points_become_faces_with_depth(folder, monkeypatch):
    import face_alignment

    face = mean_face() * 20 + 30

    class Network:
        def __init__(self, landmarks_type, device, compile=True):
            assert landmarks_type == face_alignment.LandmarksType.TWO_HALF_D

        def get_landmarks_from_image(self, image):
            return [to_68(face)[:, :2].numpy()] if image.any() else None

    monkeypatch.setattr(face_alignment, "FaceAlignment", Network)
    assert face_alignment_detector.detect(IMAGE, allow_download=True) == []
    (found,) = face_alignment_detector.detect(IMAGE + 1, allow_download=True)
    depth = found.landmarks[:, 2] - found.landmarks[30, 2]
    torch.testing.assert_close(depth, to_68(face)[:, 2] - to_68(face)[30, 2], atol=0.2, rtol=0)
