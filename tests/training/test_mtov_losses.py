import pytest
import torch
from soliloquy.training.mtov_losses import (
    drawing_loss,
    landmark_error,
    picture_loss,
    posed_loss,
    weighted_errors,
)

VIDEO = (2, 3, 16, 8, 8)


def batch():
    random = torch.Generator().manual_seed(0)
    points = 2 + 4 * torch.rand(2, 16, 68, 2, generator=random)
    return {
        "video": torch.rand(VIDEO, generator=random) * 2 - 1,
        "pose": torch.rand(VIDEO, generator=random) * 2 - 1,
        "noise": torch.zeros(2, 4, 4),
        "marks": torch.zeros(2, 1, 16, 8, 8),
        "seen": torch.zeros(VIDEO),
        "mouth": torch.zeros(2, 1, 16, 8, 8),
        "shown": torch.ones(2, 16, 8, 8),
        "landmarks": points,
        "unspoken": points + torch.tensor([1.0, 0.0]),
    }


def test_a_change_that_makes_the_video_has_no_error():
    given = batch()
    change = torch.zeros(32, 5, 8, 8)
    change[:, 2:] = (given["video"] - given["pose"]).transpose(1, 2).flatten(0, 1)
    _, parts = posed_loss(lambda *_: (torch.zeros(2, 4, 4), change), given)
    assert parts["pixels"] < 1e-5
    assert parts["landmarks"] == pytest.approx(0.5, abs=1e-5)  # of x and y
    assert parts["paint"] > 0.1


def test_landmarks_want_the_skin_from_where_they_were():
    given = batch()
    right = torch.zeros(32, 2, 8, 8)
    right[:, 0] = 1.0
    assert landmark_error(right, given["landmarks"], given["unspoken"]) < 1e-5
    assert landmark_error(-right, given["landmarks"], given["unspoken"]) == pytest.approx(1.0)


def test_errors_count_where_the_weight_is():
    error, weight = torch.zeros(1, 2, 3, 4, 4), torch.zeros(1, 2, 1, 4, 4)
    error[:, 1, :, 1, 1] = 1.0
    assert all(value == 0 for value in weighted_errors(error, weight).values())
    weight[..., 1, 1] = 16.0
    assert weighted_errors(error, weight)["pixels"] == 0.5
    assert weighted_errors(error, weight)["time"] == 1.0


def test_black_is_not_nearly_right_for_a_drawing():
    video = -torch.ones(1, 3, 2, 32, 32)
    video[..., 16, 16] = 1.0
    black, right = (
        drawing_loss(lambda _, found=found: found, {"video": video})[0]
        for found in (-torch.ones_like(video), video)
    )
    assert right == 0
    assert black > 10 * (video + 1).square().mean()


def test_lpips_joins_l1():
    loss = picture_loss(lambda one, other: (one - other).square().mean((1, 2, 3)), 2.0)
    _, parts = loss(torch.zeros_like, {"video": torch.ones(1, 3, 16, 4, 4)})
    assert parts == {"l1": 1.0, "lpips": 1.0}
