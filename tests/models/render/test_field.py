import pytest
import torch
from soliloquy.models.render.field import (
    Lattice,
    determinant,
    enlarge,
    invert,
    jacobian,
    landmark_interpolator,
)

LATTICE = Lattice(-8, 4, 4, 40, 30)


def test_a_lattice_covers_its_box_with_whole_pixel_cells():
    lattice = Lattice.around((-3.5, 2.2, 61.0, 40.9), 5)
    nodes = lattice.nodes()
    assert nodes[0].min() <= -3.5
    assert nodes[0].max() >= 61.0
    assert nodes[1].min() <= 2.2
    assert nodes[1].max() >= 40.9
    assert torch.equal(nodes, nodes.round())


@pytest.mark.parametrize(
    "box", [(0, 10, 20, 30), (-500, -500, -400, -400), (900, 900, 950, 950), (5, 5, 5, 5)]
)
def test_a_window_is_a_part_of_its_lattice(box):
    window = LATTICE.window(box)
    rows, columns = LATTICE.slices(window)
    assert torch.equal(LATTICE.nodes()[:, rows, columns], window.nodes())
    assert min(window.rows, window.columns) >= 2


def test_values_are_read_back_at_the_nodes():
    field = torch.randn(1, 3, LATTICE.rows, LATTICE.columns)
    assert torch.allclose(LATTICE.read(field, LATTICE.nodes()[None]), field, atol=1e-4)


def test_landmark_values_are_met_and_die_away():
    centres = torch.tensor([[0.0, 0.0], [0.5, 0.1], [0.2, 0.6]])
    far = torch.tensor([[3.0, 3.0]])
    matrix = landmark_interpolator(centres, torch.cat((centres, far)), radius=1.0, ridge=1e-6)
    assert torch.allclose(matrix[:3], torch.eye(3), atol=1e-4)
    assert torch.equal(matrix[3], torch.zeros(3))


def test_the_jacobian_of_a_linear_map_is_its_matrix():
    matrix = torch.tensor([[1.2, -0.3], [0.4, 0.9]])
    moved = torch.einsum("ab,bhw->ahw", matrix, LATTICE.nodes())[None]
    derivatives = jacobian(moved, LATTICE.cell)
    assert torch.allclose(derivatives[0, :, 7, 9], matrix.flatten(), atol=1e-4)
    assert torch.allclose(determinant(derivatives), torch.linalg.det(matrix), atol=1e-3)


def test_the_inverse_undoes_a_strong_smooth_warp():
    nodes = LATTICE.nodes()
    x, y = nodes[0] - 70, nodes[1] - 60
    bump = torch.exp(-(x**2 + y**2) / (2 * 25**2))
    moved = (nodes + torch.stack((14 * bump, -10 * bump)))[None]
    assert determinant(jacobian(moved, LATTICE.cell)).min() > 0.2
    sources = invert(LATTICE, nodes, moved, LATTICE)
    landed = LATTICE.read(moved, sources)
    inner = (slice(None), slice(None), slice(4, -4), slice(4, -4))
    assert (landed - nodes)[inner].abs().max() < 0.05


def test_a_part_of_the_inverse_is_the_inverse_of_the_part():
    nodes = LATTICE.nodes()
    moved = (nodes * 1.05 - 3.0)[None]
    part = LATTICE.window((20, 30, 60, 70))
    rows, columns = LATTICE.slices(part)
    whole = invert(LATTICE, nodes, moved, LATTICE)
    assert torch.allclose(invert(LATTICE, nodes, moved, part), whole[:, :, rows, columns])


def test_enlarging_keeps_the_nodes():
    field = torch.randn(2, LATTICE.rows, LATTICE.columns)
    pixels = enlarge(field, LATTICE)
    assert pixels.shape[-2:] == LATTICE.pixels
    assert torch.allclose(pixels[0, :, ::4, ::4], field, atol=1e-4)
