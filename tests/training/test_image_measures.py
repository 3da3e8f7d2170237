"""Measures of pictures and landmarks on toys whose answer is known."""

import math
from pathlib import Path

import pytest
import torch
from soliloquy.models.payloads import PayloadError
from soliloquy.training.image_measures import (
    border_speeds,
    compare_faces,
    compare_videos,
    landmark_distance,
    mouth_landmark_distance,
    psnr,
    share_below,
    ssim,
)


def pictures(frames=2, size=32):
    return torch.rand(frames, 3, size, size, generator=torch.Generator().manual_seed(0)) * 0.8


def test_psnr_is_that_of_the_error_and_averaged_over_frames():
    wanted = pictures()
    assert psnr(wanted + 0.1, wanted) == pytest.approx(20, abs=1e-3)
    assert psnr(wanted, wanted) == 100
    found = wanted + torch.tensor([0.1, 0.01])[:, None, None, None]
    assert psnr(found, wanted) == pytest.approx(30, abs=1e-2)


def test_ssim_is_one_for_equal_pictures_and_falls_with_noise_more_than_with_light():
    wanted = pictures()
    noise = torch.randn(wanted.shape, generator=torch.Generator().manual_seed(1))
    assert ssim(wanted, wanted) == pytest.approx(1, abs=1e-6)
    assert ssim(wanted + 0.1, wanted) > ssim(wanted + 0.1 * noise, wanted)


def test_ssim_of_flat_pictures_is_the_formulas():
    dark, light = torch.full((1, 3, 16, 16), 0.2), torch.full((1, 3, 16, 16), 0.6)
    c = 0.01**2
    wanted = (2 * 0.2 * 0.6 + c) / (0.2**2 + 0.6**2 + c)
    assert ssim(dark, light) == pytest.approx(wanted, abs=1e-4)


def test_landmark_distances_are_mean_lengths_in_the_landmarks_unit():
    wanted = torch.rand(5, 68, 2)
    found = wanted + torch.tensor([3.0, 4.0])
    assert landmark_distance(found, wanted) == pytest.approx(5, abs=1e-5)
    found = wanted.clone()
    found[:, 48:] += torch.tensor([0.0, 2.0])
    assert landmark_distance(found, wanted) == pytest.approx(2 * 20 / 68, abs=1e-5)
    assert mouth_landmark_distance(found, wanted) == pytest.approx(2, abs=1e-5)
    assert mouth_landmark_distance(found, wanted, aligned_mouth=True) == pytest.approx(0, abs=1e-5)


def test_other_shapes_and_no_frames_are_refused():
    with pytest.raises(ValueError, match="one shape"):
        landmark_distance(torch.zeros(2, 68, 2), torch.zeros(3, 68, 2))
    with pytest.raises(ValueError, match="no frames"):
        psnr(pictures(0), pictures(0))


def written(path, frames):
    """A lossless video of `[T, 3, H, W]` in 0 … 1."""
    import av

    with av.open(str(path), "w") as container:
        stream = container.add_stream("ffv1", rate=25)
        stream.width, stream.height = frames.shape[-1], frames.shape[-2]
        stream.pix_fmt = "bgr0"
        for picture in (frames * 255).round().byte().permute(0, 2, 3, 1).numpy():
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())
    return path


def test_videos_are_compared_frame_by_frame(tmp_path):
    first = written(tmp_path / "a.mkv", pictures(3))
    same = compare_videos(first, first)
    assert same == {"PSNR": 100, "SSIM": pytest.approx(1, abs=1e-6)}
    lighter = compare_videos(written(tmp_path / "b.mkv", pictures(3) + 0.1), first)
    assert lighter["PSNR"] == pytest.approx(20, abs=0.2)
    with pytest.raises(PayloadError, match=r"'c\.mkv' ends after 2 frames"):
        compare_videos(written(tmp_path / "c.mkv", pictures(2)), first)
    with pytest.raises(PayloadError, match="not 48×48 and 32×32"):
        compare_videos(written(tmp_path / "d.mkv", pictures(3, 48)), first)


class TestFaces:
    def seen(self, monkeypatch, tracks):
        """Two videos of 256 × 128 pixels with these landmarks, `[T, 68, 3]` each."""
        from soliloquy.training import prepare

        monkeypatch.setattr(
            prepare, "detect_faces", lambda path, model: (tracks[path.stem], 25, (256, 128))
        )
        monkeypatch.setattr(prepare, "landmarks_of", lambda faces: faces.numpy())
        return compare_faces(Path("a.mp4"), Path("b.mp4"), Path("model.task"))

    def test_distances_are_in_pixels_of_a_square_of_128(self, monkeypatch):
        wanted = torch.rand(3, 68, 3) * 100
        lips = torch.zeros(68, 3)
        lips[48:, 0], lips[0, 1] = 4, 3  # two pixels of the square to the right, three down
        found = self.seen(monkeypatch, {"a": wanted + lips, "b": wanted})
        assert found["LMD"] == pytest.approx((20 * 2 + 3) / 68, abs=1e-4)
        assert found["M-LMD"] == pytest.approx(2, abs=1e-4)
        assert found["M-LMD, aligned"] == pytest.approx(0, abs=1e-4)

    def test_frames_without_a_face_are_left_out(self, monkeypatch):
        wanted = torch.rand(4, 68, 3)
        given = wanted.clone()
        given[1] = float("nan")
        found = self.seen(monkeypatch, {"a": given, "b": wanted})
        assert found["LMD"] == 0
        assert found["frames with a face"] == 0.75
        with pytest.raises(PayloadError, match="No frame shows a face in both"):
            self.seen(monkeypatch, {"a": given * float("nan"), "b": wanted})
        with pytest.raises(PayloadError, match="have 3 and 4 frames"):
            self.seen(monkeypatch, {"a": given[:3], "b": wanted})


def test_a_jump_at_a_border_is_seen():
    landmarks = torch.zeros(90, 68, 2)
    landmarks += torch.sin(torch.arange(90) / 5)[:, None, None]
    landmarks[30:] += 3
    at_borders, everywhere = border_speeds(landmarks, torch.tensor([30, 60]))
    assert len(everywhere) == 89
    assert at_borders[0] > 3 * math.sqrt(2) * 0.9
    assert share_below(at_borders, everywhere) == 0.5
