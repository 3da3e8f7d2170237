import pytest
import torch
from soliloquy.models.payloads import PayloadError
from soliloquy.models.render.mtov.windows import in_batches, joined, window_frames


@pytest.mark.parametrize("total", [1, 15, 16, 17, 28, 29, 100])
@pytest.mark.parametrize("overlap", [0, 4])
def test_windows_give_every_frame_once_and_in_order(total, overlap):
    cut = window_frames(total, 16, overlap)
    assert all(len(frames) == 16 for frames in cut)
    assert (len(cut) - 1) * (16 - overlap) < total
    parts = list(joined((frames.float() for frames in cut), total, overlap))
    assert torch.allclose(torch.cat(parts), torch.arange(total).float())


def test_a_short_clip_holds_its_last_frame():
    assert window_frames(3, 6)[0].tolist() == [0, 1, 2, 2, 2, 2]


def test_shared_frames_fade_from_one_window_to_the_next():
    windows = [torch.zeros(16, 1), torch.ones(16, 1)]
    clip = torch.cat(list(joined(windows, 28, 4)))[:, 0]
    assert clip[:12].max() == 0
    assert torch.allclose(clip[12:16], torch.tensor([0.2, 0.4, 0.6, 0.8]))
    assert clip[16:].min() == 1


def test_parts_come_as_soon_as_they_are_certain():
    asked = []

    def windows():
        for i in range(3):
            asked.append(i)
            yield torch.zeros(16)

    parts = joined(windows(), 40, 4)
    assert len(next(parts)) == 12
    assert asked == [0]


def test_impossible_windows_are_refused():
    for arguments in ((0, 16, 0), (5, 16, 16), (5, 16, -1)):
        with pytest.raises(PayloadError, match="cannot be cut"):
            window_frames(*arguments)


def test_frames_are_handed_out_in_batches():
    parts = (torch.arange(12), torch.arange(12, 17))
    assert [batch.tolist() for batch in in_batches(parts, 7)] == [
        *(list(range(7)), list(range(7, 14))),
        [14, 15, 16],
    ]
