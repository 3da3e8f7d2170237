"""Eyes against the head."""

import torch
from soliloquy.models.motion.arkit import INDEX
from soliloquy.models.motion.gaze import hold_gaze
from soliloquy.models.motion.gestures import EYE_RANGE, gestures
from soliloquy.models.payloads import Speech, Timeline


def test_eyes_turn_left_when_the_nose_turns_right_and_back_again():
    weights = torch.zeros(2, 52)
    weights[:, INDEX["jawOpen"]] = 0.4
    turned = hold_gaze(weights, torch.tensor([[0.0, 10.0, 0.0], [-10.0, 0.0, 5.0]]))
    assert turned[0, INDEX["eyeLookOutLeft"]] == turned[0, INDEX["eyeLookInRight"]]
    assert abs(float(turned[0, INDEX["eyeLookOutLeft"]]) - 7 / EYE_RANGE) < 1e-6
    assert abs(float(turned[1, INDEX["eyeLookDownLeft"]]) - 7 / EYE_RANGE) < 1e-6
    assert float((turned > 0).sum()) == 6
    back = hold_gaze(turned, -torch.tensor([[0.0, 10.0, 0.0], [-10.0, 0.0, 5.0]]))
    torch.testing.assert_close(back, weights, atol=1e-6, rtol=0)


def test_it_is_what_gestures_do():
    timeline = Timeline.for_frames(200, 25)
    streams = {"energy": torch.rand(200, 1), "f0": torch.full((200, 1), 120.0)}
    found = gestures(Speech(streams=streams, timeline=timeline), 3)
    still = hold_gaze(found.weights, -found.rotation)
    looks = still[:, [INDEX["eyeLookOutLeft"], INDEX["eyeLookInLeft"]]]
    assert float(looks.max()) <= 0.12 + 1e-5  # saccades alone
    torch.testing.assert_close(hold_gaze(still, found.rotation), found.weights, atol=1e-5, rtol=0)
