"""Tables in a terminal."""

from mergekit_finance.study.analysis.text_tables import table_lines

ROWS = [["merge", "macro", "effect"], ["base + finance", "50.5", "no clear effect"], ["base", "4.0", ""]]


def test_columns_are_aligned():
    assert table_lines(ROWS) == [
        "merge           macro  effect",
        "base + finance  50.5   no clear effect",
        "base            4.0",
    ]
    assert table_lines(ROWS, 38) == table_lines(ROWS)


def test_columns_that_do_not_fit_follow_below_their_row():
    assert table_lines(ROWS, 37) == [
        "merge           macro",
        "base + finance  50.5",
        "       effect no clear effect",
        "base            4.0",
    ]
    assert max(map(len, table_lines(ROWS, 22))) <= 22
