from __future__ import annotations

import io

import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

from lava_bsnn import analysis
from lava_bsnn.errors import ShapeError

STEPS = 4


def sample(steps=STEPS):
    frames = np.zeros((2, 5, 6, steps))
    frames[1, 2, 3], frames[0, 4, 1] = 1, 2
    return {
        "frames": frames,
        "layers": {"a<b": np.ones((2, 3, steps), bool), "c": np.zeros((7, steps), bool)},
        "logits": np.arange(3 * steps, dtype=float).reshape(3, steps),
    }


def test_events_are_drawn_at_their_pixels_with_a_marker_for_each_polarity():
    frame = sample()["frames"][..., 0]
    axes = analysis.plot_events(frame, Figure().subplots(), title="t")
    lines = {line.get_marker(): line.get_xydata().tolist() for line in axes.lines}
    assert lines == {"+": [[3, 2]], "_": [[1, 4]]}
    assert axes.get_ylim() == (4.5, -0.5)  # rows count downwards
    assert "pixels" in axes.get_xlabel()
    with pytest.raises(ShapeError, match=r"shape \(3, 5, 6\) is not allowed; use \[2, H, W\]"):
        analysis.plot_events(np.zeros((3, 5, 6)), axes)


def test_the_animation_uncovers_one_step_after_the_other():
    gif = Image.open(io.BytesIO(analysis.animate_raster(**sample(), label=2).data))
    assert gif.n_frames == STEPS
    blue = []
    for step in range(STEPS):
        gif.seek(step)
        pixels = np.asarray(gif.convert("RGB"), int)[:, pixels_of_first_raster(gif.width)]
        blue.append((np.abs(pixels - [0x00, 0x72, 0xB2]).sum(-1) < 30).sum())
    assert pixels[0, 0].tolist() == [255, 255, 255]
    assert np.array(blue) / blue[-1] == pytest.approx([0.25, 0.5, 0.75, 1.0], abs=0.05)


def pixels_of_first_raster(width):
    return slice(width * 28 // 100, width * 55 // 100)


def test_a_notebook_shows_it_without_script_and_it_can_be_saved(tmp_path):
    gif = analysis.animate_raster(**sample())
    shown = gif._repr_html_()
    assert shown.startswith('<img alt="Events, spikes of a&lt;b, c and logits over 4 time steps"')
    assert "http" not in shown
    assert "script" not in shown
    gif.save(tmp_path / "x.gif")
    assert (tmp_path / "x.gif").read_bytes() == gif.data
    assert "GIF89a" not in repr(gif)


@pytest.mark.parametrize("name", ["a<b", "logits"])
def test_other_numbers_of_steps_are_refused(name):
    facts = sample()
    if name == "logits":
        facts["logits"] = facts["logits"][:, 1:]
    else:
        facts["layers"][name] = facts["layers"][name][..., 1:]
    with pytest.raises(ShapeError, match=f"{name} has 3 steps, frames have 4"):
        analysis.animate_raster(**facts)
