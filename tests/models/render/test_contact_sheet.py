"""The contact sheet: every pose once, in order."""

import pytest
import torch
from soliloquy.models.motion.arkit import INDEX
from soliloquy.models.payloads import Portrait
from soliloquy.models.portrait.affine import square_crop
from soliloquy.models.portrait.mapping import mean_landmarks
from soliloquy.models.render.contact_sheet import LABEL, POSES, TILE, contact_sheet, pose_motion


class Shades:
    """A renderer whose frames are grey, frame after frame brighter."""

    space = "arkit52"

    def render(self, portrait, motion, *, batch=8, on_frame=None):
        height, width = portrait.size
        for frame in range(motion.timeline.num_frames):
            yield torch.full((1, height, width, 3), 20 * frame + 40, dtype=torch.uint8)


@pytest.fixture
def portrait():
    landmarks = mean_landmarks() * 60 + 100
    return Portrait(
        image=torch.zeros(200, 240, 3, dtype=torch.uint8),
        landmarks=landmarks,
        box=(50, 50, 150, 150),
        crop=square_crop(landmarks, size=64),
        crop_size=64,
        rotation=(0.0, 0.0, 0.0),
    )


def test_the_poses_are_those_that_show_where_a_renderer_tears():
    motion = pose_motion()
    weights = motion.values
    assert weights[0].abs().sum() == 0
    assert weights[:, INDEX["jawOpen"]].tolist() == [0, 1, 0, 0, 0, 0, 0, 0]
    assert motion.rotation[:, 1].tolist() == [0, 0, 0, 0, 0, 0, -15, 15]


def test_tiles_lie_side_by_side_in_the_order_of_the_poses(portrait):
    sheet = contact_sheet(portrait, Shades())
    assert sheet.shape == (TILE + LABEL, TILE * len(POSES), 3)
    middles = sheet[TILE // 2, TILE // 2 :: TILE, 0].tolist()
    assert middles == [20 * frame + 40 for frame in range(len(POSES))]
    for tile in sheet[TILE:].split(TILE, dim=1):
        assert (tile < 100).any()  # a label
