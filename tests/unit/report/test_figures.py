"""The figures of a report: which are drawn, their colors, legends and names; matplotlib's settings stay."""

import io
import itertools
import json
import subprocess
import sys
import warnings
from types import SimpleNamespace

import numpy as np
import pytest
from helpers.report import study
from matplotlib.colors import to_rgb
from PIL import Image

from mergekit_finance.report import figures, labels
from mergekit_finance.report.figures import curves, heatmaps, layers, retention_scores, sheets, stages, style
from mergekit_finance.study.analysis import phrases
from mergekit_finance.study.results import load_results as load


def drawn_files(out):
    return {d.name: (d.png(), d.svg()) for d in figures.draw_all(load(out))}


@pytest.mark.parametrize(
    "combinations, operators",
    [
        ({1: [("finance",)]}, {"task_arithmetic": [0.5]}),
        (None, {"task_arithmetic": [i / 10 for i in range(1, 11)]}),
    ],
    ids=["one point", "40 points"],
)
def test_every_figure_is_drawn(tmp_path, combinations, operators):
    drawn = drawn_files(study(tmp_path / "out", combinations=combinations, operators=operators))
    assert tuple(drawn) == figures.NAMES
    for png, svg in drawn.values():
        assert png.startswith(b"\x89PNG") and b"<svg" in svg and 2000 < len(png) < 1_000_000


def test_a_study_without_retention_and_similarity_has_fewer_figures(tmp_path):
    out = study(tmp_path / "out")
    (out / "similarity.json").unlink()
    summary = json.loads((out / "summary.json").read_text())
    for model in [*summary["models"].values(), *summary["points"].values()]:
        del model["retention"]
    summary["similarity"] = {}
    (out / "summary.json").write_text(json.dumps(summary))
    assert [d.name[0] for d in figures.draw_all(load(out))] == ["1", "2", "3", "4"]


def test_a_figure_that_cannot_be_drawn_does_not_stop_the_others(tmp_path, monkeypatch, caplog):
    def fail(results):
        raise ZeroDivisionError("no\nline")

    monkeypatch.setattr(stages, "draw", fail)
    names = [drawn.name for drawn in figures.draw_all(load(study(tmp_path / "out")))]
    assert names == [name for name in figures.NAMES if name != stages.NAME]
    assert caplog.messages == [f"figure {stages.NAME} is left out: it cannot be drawn (no)"]


def test_layers_are_ordered_by_number_then_by_name(tmp_path):
    out = study(tmp_path / "out")
    similarity = json.loads((out / "similarity.json").read_text())
    similarity["layers"] = {name: similarity["layers"]["0"] for name in ("²", "10", "2")}
    (out / "similarity.json").write_text(json.dumps(similarity))
    axes = layers.draw(load(out)).figure.axes[0]
    assert [str(x) for x in axes.lines[0].get_xdata(orig=True)] == ["2", "10", "²"]


def test_the_retention_figure_needs_retention_of_every_model(tmp_path):
    out = study(tmp_path / "out")
    summary = json.loads((out / "summary.json").read_text())
    next(iter(summary["points"].values()))["retention"] = None
    (out / "summary.json").write_text(json.dumps(summary))
    assert retention_scores.draw(load(out)) is None


def test_the_retention_figure_uses_tasks_of_its_skills_or_is_marked_macro(tmp_path):
    out = study(tmp_path / "out")
    summary = json.loads((out / "summary.json").read_text())
    for combination in summary["combinations"].values():  # of one expert, `named` holds retention
        summary["selected"][combination["selected"]]["sets"]["named"]["tasks"] = [
            "finance_bench_retention_arc"
        ]
    summary["points"][summary["combinations"]["finance"]["selected"]]["scores"]["finance_bench_fpb"] = 0.75
    (out / "summary.json").write_text(json.dumps(summary))
    figure = retention_scores.draw(load(out)).figure
    panels = {axes.get_title(): axes for axes in figure.axes}
    assert list(panels)[:2] == ["base + finance", "base + math (macro)"]
    (ring,) = [line for line in panels["base + finance"].lines if line.get_markersize() == 10]
    assert ring.get_xdata()[0] == pytest.approx(45)  # 0.75 of fpb, the base has 0.3


def test_pairs_of_models_do_not_use_expert_colors(tmp_path):
    stored = load(study(tmp_path / "out"))
    moved, *others = layers.draw(stored).figure.axes
    of_experts = set(style.EXPERT_COLORS)
    assert {line.get_color() for line in moved.lines} <= of_experts
    assert others[0].lines and not of_experts & {line.get_color() for axes in others for line in axes.lines}


def test_the_retention_legend_matches_its_panels(tmp_path):
    out = study(tmp_path / "out", operators={"task_arithmetic": [0.4, 0.8], "dare_ties": [0.2, 0.6]})
    summary = json.loads((out / "summary.json").read_text())
    for point in summary["points"].values():
        point["values"] |= {"seed": 0} if point["operator"] == "dare_ties" else {}
    (out / "summary.json").write_text(json.dumps(summary))
    figure = retention_scores.draw(load(out)).figure
    for name, color in (("task_arithmetic", style.BLUE), ("dare_ties", style.GREEN)):
        drawn = {line.get_linestyle() for line in figure.axes[0].lines if line.get_color() == color}
        shown = [h for h in figure.legends[0].legend_handles if h.get_label() == labels.operator_name(name)]
        assert drawn == {shown[0].get_linestyle()} == {"-" if name == "task_arithmetic" else "None"}


def colored(data, axes, places):
    """Return the colors of a PNG at data coordinates of a panel."""
    image = np.asarray(Image.open(io.BytesIO(data)).convert("RGB")).astype(int)
    return [image[len(image) - 1 - int(y), int(x)] for x, y in axes.transData.transform(places)]


def test_heatmap_colors_survive_png_encoding(tmp_path):
    """With a palette of 256 colors for the whole picture, a larger Gain could look like a smaller one."""
    out = study(tmp_path / "out", operators={"task_arithmetic": [0.4], "ties": [0.2], "dare_ties": [0.5]})
    summary = json.loads((out / "summary.json").read_text())
    cells = [task for row in summary["selected"].values() for task in row["tasks"].values()]
    for place, cell in enumerate(cells):
        value = -0.6 + 1.2 * place / len(cells)
        cell["gain"] = cell["og"] = [value, value - 1, value + 1]
    (out / "summary.json").write_text(json.dumps(summary))
    drawn = heatmaps.draw(load(out))
    axes, data = drawn.figure.axes[0], drawn.png()
    shown = axes.images[0]
    rows, columns = shown.get_array().shape
    places = [(x + 0.3, y) for y in range(rows) for x in range(columns)]  # a place without digits
    expected = 255 * shown.to_rgba(shown.get_array())[..., :3].reshape(-1, 3)
    assert np.abs(np.array(colored(data, axes, places)) - expected).max() <= 1


def test_answer_sheet_colors_survive_png_encoding(tmp_path):
    drawn = sheets.draw(load(study(tmp_path / "out")))
    axes, data = drawn.figure.axes[0], drawn.png()
    cells = axes.images[0].get_array()
    shown = colored(data, axes, [(x, y) for y in range(len(cells)) for x in range(cells.shape[1])])
    expected = 255 * axes.images[0].to_rgba(cells)[..., :3].reshape(-1, 3)
    assert np.abs(np.array(shown) - expected).max() <= 3


def test_text_on_dark_cells_is_white():
    from matplotlib.colors import Normalize

    norm = Normalize(-50, 50)
    values = (-55, -40, -10, 0, 10, 45)
    text_colors = dict(zip(values, heatmaps.text_colors(np.array(values, dtype=float), norm), strict=True))
    assert [value for value, color in text_colors.items() if color == "white"] == [-55, -40, 45]


def test_frames_stand_out_and_short_names_are_explained(tmp_path):
    out = study(tmp_path / "out")
    summary = json.loads((out / "summary.json").read_text())
    dark = [summary["selected"][name]["tasks"]["finance_bench_fpb"] for name in summary["selected"]]
    for cell in dark:
        cell["gain"] = cell["og"] = [-0.5, -0.6, -0.4]
    (out / "summary.json").write_text(json.dumps(summary))
    drawn = heatmaps.draw(load(out))
    frames = drawn.figure.axes[0].collections[0].get_edgecolors()
    assert {tuple(color[:3]) for color in frames} == {(1, 1, 1), to_rgb(style.INK)}
    assert drawn.caption.endswith("Over the cells: F is finance, M is math.")


def test_text_columns_of_the_stage_figure_do_not_overlap(tmp_path):
    out = study(tmp_path / "out", operators={"dare_ties": [0.25]})
    summary = json.loads((out / "summary.json").read_text())
    for row in summary["selected"].values():
        row["sets"]["macro"] |= {"gain": [-0.1234, -1.0, -0.1], "og": [-0.1234, -1.0, -0.1]}
    (out / "summary.json").write_text(json.dumps(summary))
    with style.settings():
        figure = style.laid_out(stages.draw(load(out)).figure)
        boxes = [text.get_window_extent() for text in figure.axes[1].texts]
    rows = [[b for b in boxes if abs(b.y0 - first.y0) < 3] for first in boxes]
    assert max(map(len, rows)) == 3 and max(box.x1 for box in boxes) <= figure.bbox.x1
    for row in (sorted(row, key=lambda box: box.x0) for row in rows):
        assert all(left.x1 + 8 < right.x0 for left, right in itertools.pairwise(row))


def test_only_the_base_has_a_dotted_line():
    names = ["base", *"abcdef"]
    dots = [name for name, line in style.expert_lines(names).items() if line == ":" or is_dotted(line)]
    assert dots == ["base"]


def is_dotted(line):
    return not isinstance(line, str) and max(line[1][::2]) <= 1


def test_names_are_placed_beside_intervals():
    with style.settings():
        figure = style.canvas(5.2, 4.2)
        axes = figure.subplots()
        axes.set(xlim=(0, 10), ylim=(0, 10))
        style.place_names(axes, [(5, 5, 4, 6), (5.6, 8, 1, 9)], ["F+M", "F+J"])
        style.laid_out(figure)
        box = axes.texts[0].get_window_extent()
    line = axes.transData.transform([(5.6, 5)])[0][0]
    assert not box.x0 < line < box.x1


def test_japanese_names_have_glyphs(tmp_path):
    assert style.japanese_font() is not None
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # matplotlib warns of a glyph that no font has
        drawn_files(study(tmp_path / "out", names={"japanese": "日本語", "finance": "金融"}))


def test_the_callers_matplotlib_settings_are_restored(tmp_path):
    import matplotlib

    before = dict(matplotlib.rcParams)
    drawn_files(study(tmp_path / "out"))
    assert dict(matplotlib.rcParams) == before


def test_a_report_imports_neither_torch_nor_pyplot(tmp_path):
    out = study(tmp_path / "out")
    code = (
        "import sys; from pathlib import Path; from mergekit_finance.report.writing import build; "
        f"build(Path({str(out)!r})); "
        "print([m for m in ('torch', 'transformers', 'lm_eval', 'mergekit', 'matplotlib.pyplot') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_columns_of_an_answer_sheet_form_blocks_by_expert():
    singles = np.array([[1, 0, 0, 1], [0, 1, 0, 1], [1, 1, 0, 0]])  # base and two experts
    merges = np.array([[1, 0, 1, 0]])
    order = sheets.column_order(singles, merges).tolist()
    assert order == [1, 3, 0, 2]  # by the first expert, then the second, then the base
    assert order[-1] == 2  # items that no model answers right come last


def test_labels_are_short_and_without_the_prefix():
    point = SimpleNamespace(combination=["finance"], operator="ties", values={"lambda": 1.0, "density": 0.2})
    assert labels.point_name(point) == "base + finance · TIES d 0.2, λ 1"
    assert labels.task_name("finance_bench_fpb") == "fpb"
    assert labels.initials(["math", "mono"]) == {"math": "math", "mono": "mono"}
    assert phrases.in_points(-0.0001, sign=True) == "0.0"


def test_a_grid_of_one_value_is_drawn_as_dots(tmp_path):
    drawn = curves.draw(load(study(tmp_path / "out", operators={"task_arithmetic": [0.4]})))
    assert len(drawn.figure.axes) == 1 and "no curve" in drawn.caption
    assert curves.has_curves(load(study(tmp_path / "more")))
