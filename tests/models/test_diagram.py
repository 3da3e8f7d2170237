import pytest
import torch
from soliloquy.models.diagram import FINER, LARGEST, Sheet, clock, extremes
from soliloquy.models.payloads import PayloadError


@pytest.mark.parametrize(
    ("seconds", "longest", "written"),
    [(0.1 + 0.2, 2, "0.3"), (12, 60, "12"), (60, 91, "1:00"), (605, 1800, "10:05")],
)
def test_moments_are_written_as_their_axis_needs(seconds, longest, written):
    assert clock(seconds, longest) == written


def test_panels_are_equally_high_and_do_not_touch():
    areas = list(Sheet("Curves", 640, 480, (480, 240)).areas(10.0, [(0, 1), (-5, 5), (0, 2)]))
    heights = [area.y1 - area.y0 for area in areas]
    assert heights == pytest.approx(heights[:1] * 3)
    assert areas[0].y1 < areas[1].y0 < areas[1].y1 < areas[2].y0
    assert areas[2].y1 < 480 * FINER


def test_values_beyond_a_panel_stay_on_its_edge():
    (area,) = Sheet("Curves", 640, 480, (480, 240)).areas(10.0, [(-5, 5)])
    assert area.y(7) == area.y0
    assert area.y(-7) == area.y1
    assert area.y(0) == pytest.approx((area.y0 + area.y1) / 2)


def test_a_single_peak_survives_in_its_piece():
    curve = torch.zeros(1000)
    curve[437] = 1.0
    low, high, places = extremes(curve, 10)
    assert low.abs().max() == 0
    assert high.argmax() == 4
    assert float(places[4]) == pytest.approx(0.45)


@pytest.mark.parametrize("size", [(479, 480), (640, 100), (LARGEST[0] + 1, 480)])
def test_sizes_that_cannot_be_drawn_are_refused(size):
    with pytest.raises(PayloadError, match=f"Curves cannot be drawn on {size[0]} × {size[1]}"):
        Sheet("Curves", *size, (480, 240))
