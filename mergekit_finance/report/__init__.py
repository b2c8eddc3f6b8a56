"""6. Report: figures and one page from a study's stored results. Loads no model and no torch.

writing.py       build(out): everything is made, then written
page.py          report.html; templates/ has its text, style and script
unit_page.py     report.html of a study in which nothing was selected
page_text.py     texts of the page: recommendation, cautions, choices, versions
leaderboard.py   tables at the top of the page
tables.py        the other tables of the page
imported_table.py  the table of models that were imported
table_files.py   tables as CSV, LaTeX and Markdown files
time_bar.py      where the study's time went
item_browser.py  right and wrong answers, and texts where they may be shown
charts/          the figures of the page, as inline SVG
figures/         the figures for papers, one module each
labels.py        names of models, points, tasks and numbers
markdown.py      Markdown tables
console.py       what `mergekit-finance run` prints
demo_text.py     what `mergekit-finance demo` prints
"""
