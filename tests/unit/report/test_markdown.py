"""Tables in Markdown, and the same in a narrow terminal."""

from mergekit_finance.report.markdown import fitted_tables, markdown_table

TABLE = markdown_table(
    [["task", "merged", "items"], ["finance_bench_fpb", "0.5", "+1 -2"], ["macro", "0.5", ""]]
)
TEXT = f"Gain\n\n{TABLE}\n\n- a | b"


def test_tables_that_fit_or_go_to_a_file_stay_markdown():
    assert fitted_tables(TEXT, None) == TEXT == fitted_tables(TEXT, 80)


def test_tables_that_are_wider_than_the_terminal_are_plain_text_that_fits():
    assert fitted_tables(TEXT, 30).split("\n") == [
        "Gain",
        "",
        "task               merged",
        "finance_bench_fpb  0.5",
        "       items +1 -2",
        "macro              0.5",
        "",
        "- a | b",
    ]
