"""The figure of the SmolLM2 study: a row for each comparison, in points and in bits per byte."""

from helpers.smollm2_scores import study
from helpers.smollm2_study import data, effects, figure
from PIL import Image


def test_the_figure_has_a_row_for_each_comparison_with_its_interval_and_seeds(tmp_path):
    scores = study(items=8, kinds="ab")
    found = [effects.effects(scores), effects.effects(scores, in_bits=True)]
    points, bits = figure.draw(found).axes
    labels = [text.get_text() for text in points.get_yticklabels()]
    assert len(labels) == 3 * 2 + 3 * 3 + 4 and labels[0] == "base + finance, minus finance expert"
    one = found[0]["finance"].differences["finance"].of_experts
    interval, mean, seeds = points.lines[1:4]  # the first line is zero
    assert list(interval.get_xdata()) == [100 * one.low, 100 * one.high] and list(mean.get_xdata()) == [
        100 * one.value
    ]
    assert len(seeds.get_xdata()) == 2
    assert len(bits.lines) == 1 + 3 * sum(len(effect.differences) for effect in found[1].values())
    data.write(scores, tmp_path / data.SCORES)
    figure.main([str(tmp_path), str(tmp_path / "x.png")])
    with Image.open(tmp_path / "x.png") as image:
        assert image.width > 1000
