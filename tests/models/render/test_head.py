import torch
from soliloquy.models.render.field import Lattice
from soliloquy.models.render.head import STEEPEST, Head, HeadMotion, limit_slope, smoothstep

from .drawn_face import drawn_face

STILL = (torch.zeros(3), torch.zeros(3), torch.tensor(1.0))


def _motion(head, rotation=(0.0, 0.0, 0.0), translation=(0.0, 0.0, 0.0), scale=1.0):
    return HeadMotion.of(
        head, torch.tensor(rotation), torch.tensor(translation), torch.tensor(scale)
    )


def _head_and_nodes():
    portrait = drawn_face()
    head = Head.of(portrait)
    return portrait, head, Lattice.around(head.box(), 4).nodes()


def test_the_face_follows_the_skull_and_the_background_does_not():
    portrait, head, nodes = _head_and_nodes()
    face = portrait.landmarks[17:68, :2].T
    assert head.attachment(face).min() > 0.95
    rim = torch.cat((nodes[:, 0], nodes[:, -1], nodes[:, :, 0], nodes[:, :, -1]), dim=1)
    assert head.attachment(rim).max() < 1e-3


def test_the_nose_is_nearer_than_the_ears_and_the_slope_is_bounded():
    portrait, head, nodes = _head_and_nodes()
    depth = head.depth(nodes, portrait.landmarks)
    lattice = Lattice.around(head.box(), 4)
    tip, ear = portrait.landmarks[30], portrait.landmarks[0]
    at = torch.stack((tip[:2], ear[:2])).T[None, :, :, None]
    nose_depth, ear_depth = lattice.read(depth[None, None], at).flatten().tolist()
    assert nose_depth < ear_depth - 0.4 * float(portrait.interocular)
    slopes = torch.cat(
        ((depth[:, 1:] - depth[:, :-1]).flatten(), (depth[1:] - depth[:-1]).flatten())
    )
    assert slopes.abs().max() <= 4 * STEEPEST * 1.001


def test_limiting_a_slope_leaves_gentle_ground_alone():
    ramp = torch.arange(20.0).repeat(12, 1) * 0.5
    assert torch.allclose(limit_slope(ramp, 1.0)[3:-3, 3:-3], ramp[3:-3, 3:-3], atol=1e-4)
    cliff = torch.zeros(12, 20)
    cliff[:, 10:] = 50.0
    assert (limit_slope(cliff, 1.0).diff(dim=1).abs() <= 1.001).all()


def test_no_motion_moves_nothing():
    portrait, head, nodes = _head_and_nodes()
    depth = head.depth(nodes, portrait.landmarks)
    assert torch.equal(_motion(head).offsets(nodes, depth), torch.zeros_like(nodes))


def test_positive_yaw_turns_the_nose_to_the_left_and_positive_pitch_looks_down():
    portrait, head, _ = _head_and_nodes()
    tip = portrait.landmarks[30]
    point, depth = tip[:2].view(2, 1, 1), tip[2].view(1, 1)
    assert _motion(head, rotation=(0.0, 10.0, 0.0)).offsets(point, depth)[0] < -3
    assert _motion(head, rotation=(10.0, 0.0, 0.0)).offsets(point, depth)[1] > 3


def test_positive_roll_tilts_the_head_clockwise():
    portrait, head, _ = _head_and_nodes()
    forehead = (portrait.landmarks[27] - torch.tensor([0.0, 40.0, 0.0]))[:2].view(2, 1, 1)
    assert (
        _motion(head, rotation=(0.0, 0.0, 10.0)).offsets(forehead, head.centre[2].view(1, 1))[0] > 3
    )


def test_translation_is_in_interocular_distances():
    portrait, head, nodes = _head_and_nodes()
    depth = head.depth(nodes, portrait.landmarks)
    shift = _motion(head, translation=(0.5, -0.25, 0.0)).offsets(nodes, depth)
    unit = float(portrait.interocular)
    assert torch.allclose(shift[0], torch.tensor(0.5 * unit), atol=1e-3)
    assert torch.allclose(shift[1], torch.tensor(-0.25 * unit), atol=1e-3)


def test_undoing_the_motion_on_a_plane_is_its_inverse():
    _, head, nodes = _head_and_nodes()
    motion = _motion(head, (6.0, -11.0, 4.0), (0.1, 0.2, 0.0), 1.05)
    plane = torch.full_like(nodes[0], float(head.centre[2]) - 30)
    landed = nodes + motion.offsets(nodes, plane)
    back = motion.undo_on_plane(landed, float(head.centre[2]) - 30)
    assert torch.allclose(back, nodes, atol=1e-2)


def test_a_smooth_step_is_level_at_both_ends():
    values = smoothstep(torch.tensor([-1.0, 0.0, 0.5, 1.0, 2.0]))
    assert values.tolist() == [0.0, 0.0, 0.5, 1.0, 1.0]
