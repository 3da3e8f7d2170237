"""The user's own face model is read as AToM's training data read it, or missed by name."""

import numpy as np
import pytest
import torch
from scipy.io import savemat
from soliloquy.models import checkpoints
from soliloquy.models.motion.alignment import CROP, FACE, fit_projection, five_points, standard_face
from soliloquy.models.motion.face_model import (
    MODEL_FILE,
    NETWORK_FILE,
    STANDARD_FILE,
    crop_face,
    load_face_model,
    load_reconstruction,
    load_standard_face,
)
from soliloquy.models.payloads import PayloadError

from ...helpers import shared
from ...pseudo_weights import shapes, state_dict
from ..render.drawn_face import drawn_face
from .face_model_files import plain_network, write_model, write_network


def test_landmarks_are_the_vertices_behind_those_that_were_meant(tmp_path):
    arrays = write_model(tmp_path)
    model = load_face_model(tmp_path)
    coefficients = np.random.default_rng(1).normal(size=257).astype(np.float32)
    moved = arrays["idBase"] @ coefficients[:80] + arrays["exBase"] @ coefficients[80:144]
    points = arrays["keypoints"][0].astype(int)  # counted from 1, used as if from 0
    residual = model.residual(torch.from_numpy(coefficients))
    assert np.allclose(residual.numpy(), 10 * moved.reshape(-1, 3)[points], atol=1e-3)
    shape = (arrays["meanshape"][0] + moved).reshape(-1, 3)[points]
    assert np.allclose(model.landmarks(residual).numpy(), shape, atol=1e-3)


def test_coefficients_equal_those_of_the_network_with_batch_norms():
    plain = plain_network()
    faces = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    network = checkpoints.load("deep3drecon", plain.state_dict())
    wanted = plain(faces)
    assert wanted.shape == (2, 257)
    assert torch.allclose(network(faces), wanted, atol=1e-4 * float(wanted.abs().max()))


def test_the_published_keys_fit():
    state = state_dict(shapes(shared("design/keys/keys_deep3drecon_net_recon.txt")), "recon")
    network = checkpoints.load("deep3drecon", {"net_recon": state})
    assert network.stem.weight.shape == (64, 3, 7, 7)
    assert sum(head.weight.shape[0] for head in network.heads) == 257


@pytest.mark.parametrize("size", [(300, 400), (500, 260)])
def test_the_crop_shows_the_standard_face_whatever_the_picture_is(size):
    """Five points land where the template, scaled and centred, has them; black is nowhere."""
    height, width = size
    points = 70 * standard_face()[:, :2] * torch.tensor([1.0, -1.0])
    points += torch.tensor([width * 0.55, height * 0.5])
    landmarks = torch.zeros(68, 2)
    landmarks[[36, 39]], landmarks[[42, 45]] = points[0], points[1]
    landmarks[[30, 48, 54]] = points[2:]
    image = torch.full((height, width, 3), 40, dtype=torch.uint8)
    for x, y in points.round().long():
        image[y - 2 : y + 3, x - 2 : x + 3] = 255
    crop = crop_face(image, landmarks, standard_face())
    assert crop.shape == (3, CROP, CROP)
    wanted = (FACE * standard_face()[:, :2] * torch.tensor([1.0, -1.0]) + CROP / 2).round().long()
    for x, y in wanted:
        assert float(crop[:, y - 2 : y + 3, x - 2 : x + 3].max()) > 0.8


def test_the_scale_of_a_face_is_that_of_its_landmarks():
    portrait = drawn_face()
    fit = fit_projection(five_points(portrait.landmarks[:, :2]))
    assert 0 < float(fit.scale) < max(portrait.size)


def test_a_folder_gives_the_landmarks_of_a_portrait(tmp_path):
    write_model(tmp_path)
    plain = write_network(tmp_path)
    portrait = drawn_face()
    reconstruction = load_reconstruction(tmp_path)
    crop = crop_face(portrait.image, portrait.landmarks[:, :2], standard_face())
    wanted = reconstruction.model.residual(plain(crop[None])[0])
    found = reconstruction.residual(portrait)
    assert torch.allclose(found, wanted, atol=1e-3 * float(wanted.abs().max()))


def test_the_template_may_come_from_its_file(tmp_path):
    assert torch.equal(load_standard_face(tmp_path), standard_face())
    points = np.random.default_rng(0).normal(size=(68, 3))
    savemat(tmp_path / STANDARD_FILE, {"lm": points})
    found = load_standard_face(tmp_path)
    assert np.allclose(found[0], points[[36, 39]].mean(0), atol=1e-6)
    assert np.allclose(found[2:], points[[30, 48, 54]], atol=1e-6)


@pytest.mark.parametrize("missing", [MODEL_FILE, NETWORK_FILE])
def test_a_missing_file_is_named_with_its_source(tmp_path, missing):
    write_model(tmp_path)
    write_network(tmp_path)
    (tmp_path / missing).unlink()
    with pytest.raises(PayloadError, match=rf"needs '{missing}'.*Deep3DFaceRecon"):
        load_reconstruction(tmp_path)


def test_another_matlab_file_is_refused(tmp_path):
    savemat(tmp_path / MODEL_FILE, {"something": np.zeros(3)})
    with pytest.raises(PayloadError, match="not the face model"):
        load_face_model(tmp_path)
    (tmp_path / MODEL_FILE).write_bytes(b"no matlab file at all")
    with pytest.raises(PayloadError, match="cannot be read as a MATLAB file"):
        load_face_model(tmp_path)
