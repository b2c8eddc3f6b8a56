"""Figures of the page: what they show, escaped, with colors of the style sheet only."""

from dataclasses import replace
from xml.etree import ElementTree

import pytest
from helpers.report import damage, study

from mergekit_finance.report import charts
from mergekit_finance.report.charts import (
    flip_bars,
    retention_marks,
    setting_curves,
    stage_rows,
    task_heatmaps,
)
from mergekit_finance.report.charts.plot import Plot, Scale, spread
from mergekit_finance.report.charts.svg import WIDTH, both_ends, fitted, markup, text_width
from mergekit_finance.study.results import load_results

NASTY = "</svg><script>\"'&amp;\u202e"


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    return load_results(study(tmp_path_factory.mktemp("study") / "out"))


def values(panel):
    """Return the texts that a panel's marks show."""
    tree = ElementTree.fromstring(panel.svg)
    return [mark.findtext("title") for mark in tree.iter() if "value" in mark.get("class", "").split()]


def test_every_chart_is_drawn_with_values_and_without_colors_of_its_own(results):
    drawn = charts.all_charts(results)
    assert len(drawn) == len(charts.CHARTS) == len({chart.name for chart in drawn})
    for chart in drawn:
        for panel in chart.panels:
            tree = ElementTree.fromstring(panel.svg)
            assert all(values(panel)) and tree.get("aria-label")
            assert [mark.get("tabindex") for mark in tree.iter() if mark.get("tabindex")].count("0") == 1
            assert not {name for mark in tree.iter() for name in mark.keys()} & {"fill", "stroke", "style"}
        assert all("fill" not in entry.mark for entry in chart.legend)


def test_a_chart_that_cannot_be_drawn_does_not_stop_the_others(results, monkeypatch, caplog):
    def draw(results):
        raise ZeroDivisionError("no\nline")

    monkeypatch.setattr(charts, "CHARTS", (draw, stage_rows.draw))
    assert [chart.name for chart in charts.all_charts(results)] == ["stages"]
    assert "it cannot be drawn (no)" in caplog.text


def test_text_is_escaped_and_direction_marks_are_removed():
    plot = Plot(NASTY, (0, 1), (0, 1), NASTY, NASTY)
    plot.mark(0.5, 0.5, "c-base", NASTY)
    plot.write_names([(0.5, 0.5, NASTY)])
    text = str(markup(plot.svg))
    assert "<script" not in text and "\u202e" not in text and text.count("</svg>") == 1
    (title,) = [one.text for one in ElementTree.fromstring(text).iter("title")]
    assert title == NASTY.replace("\u202e", "")


def test_axes_have_round_ticks_and_show_all_numbers():
    assert Scale(0.13, 0.98, 0, 100).ticks() == pytest.approx([0.2, 0.4, 0.6, 0.8])
    assert Scale(-12.0, 31.0, 0, 100).ticks(5) == [-10, 0, 10, 20, 30]
    assert Scale(0, 10, 100, 0).at(2.5) == 75
    low, high = spread([5.0, 5.0])
    assert low < 5 < high and spread([]) == pytest.approx((-0.06, 1.06))


def test_an_axis_of_equal_scores_shows_no_score_that_is_impossible():
    low, high = spread([83.3, 83.3])
    assert 0 < low < 83.3 < high < 100


def test_labels_of_an_axis_stay_in_the_panel():
    ticks = [(0.0, "[0, 0.25, 0.5, 0.75, 1]"), (1.0, "[mlp 0.4, else 0.8]")]
    plot = Plot("", (0, 1), (0, 1), x_ticks=ticks)
    texts = {one.text: one for one in plot.svg.iter("text")}
    for _, text in ticks:
        middle, half = float(texts[text].get("x")), text_width(text) / 2
        assert half - 0.1 <= middle <= WIDTH - half + 0.1


def test_gradients_and_filters_label_an_axis_in_full_where_they_fit(results):
    wide = [{"filter": "mlp", "value": 0.4}, {"value": 0.8}]
    summary = results.summary.model_copy(deep=True)
    for point in summary.points.values():
        if point.operator == "task_arithmetic" and point.values["lambda"] == 0.8:
            point.values["lambda"] = wide
    panels = setting_curves.draw(replace(results, partial_summary=summary)).panels
    assert any(">[mlp 0.4, else 0.8]<" in str(panel.svg) for panel in panels)


def test_long_names_are_cut_and_wide_letters_count_as_two():
    assert fitted("finance", 60) == "finance"
    assert fitted("finance + math + japanese", 60).endswith("…")
    assert len(fitted("金融数学日本語金融数学日本語", 60)) < len(fitted("finance finance finance", 60))


def test_names_of_methods_that_begin_alike_differ_when_they_are_cut():
    names = ["Model Breadcrumbs", "Model Breadcrumbs with TIES", "TA"]
    cut = [both_ends(name, 68) for name in names]
    assert len({*cut}) == 3 and cut[2] == "TA" and cut[1].endswith("TIES")
    assert all(text_width(name) <= 68 for name in cut)
    assert both_ends("abc", 1) == "a…c"  # no endless loop where nothing fits


def test_the_front_holds_the_models_that_no_other_passes_in_both():
    places = {
        "a": (1.0, 9.0),
        "b": (2.0, 8.0),
        "c": (1.5, 7.0),
        "d": (3.0, 2.0),
        "e": (3.0, 1.0),
        "f": (2.0, 8.0),
    }
    assert retention_marks.front(places) == ["a", "b", "d"]


def test_the_bars_of_flips_show_both_directions(results):
    best, base = flip_bars.draw(results).panels
    assert values(base)[0] == "base + finance against base: 3 items became right, 2 became wrong"
    assert len(values(best)) == len(results.combinations)


def test_without_stored_flips_and_retention_there_are_fewer_charts(tmp_path):
    out = study(tmp_path / "out")

    def change(summary):
        for model in (*summary["models"].values(), *summary["points"].values()):
            del model["retention"]
        for point in summary["selected"].values():
            for row in point["sets"].values():
                row.pop("flips", None)

    damage(out, "summary.json", change)
    names = {chart.name for chart in charts.all_charts(load_results(out))}
    assert not names & {"item-flips", "retention", "skill-and-retention"} and "layers" in names


def test_cells_of_the_heatmap_have_levels_by_size_and_frames_by_interval(results):
    panel = task_heatmaps.draw(results).panels[0]
    cells = [g for g in ElementTree.fromstring(panel.svg).iter() if "cell" in g.get("class", "").split()]
    gain, og = cells[:2]  # of macro: +6 [+1, +11] and -2 [-7, +3], with a limit of 6 points
    assert gain.get("class").split()[-1] == "h5" and og.get("class").split()[-1] == "h-2"
    assert [len(cell) for cell in (gain, og)] == [4, 3]  # the frame of a significant cell
    assert gain.findtext("title") == "macro, TA λ 0.4: Gain +6.0 [+1.0, +11.0]"


def test_operators_with_a_number_share_a_panel(results):
    chart = setting_curves.draw(results)
    assert len(chart.panels) == len(results.combinations)
    first = values(chart.panels[0])
    assert len(first) == 4 and first[0].startswith("Task Arithmetic λ 0.4: macro ")
    assert "λ of TA, density of TIES" in chart.panels[0].svg


def test_a_line_shows_the_score_of_the_best_model_that_is_no_merge(results, monkeypatch):
    places = []
    monkeypatch.setattr(stage_rows.Rows, "vertical", lambda self, place, style: places.append((place, style)))
    panels = stage_rows.draw(results).panels
    score = results.measured(results.summary.ship.best_single).macro.value
    assert [place for place in places if "c-best" in place[1]] == [(100 * score, "line c-best dashed")] * len(
        panels
    )
