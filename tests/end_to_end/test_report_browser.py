"""report.html in a real browser: nothing untrusted runs, no request is sent, and all controls work."""

import itertools
import json
import re
import shutil
from pathlib import Path

import pytest
from helpers.commands import HANG
from helpers.report import accept_any_name, change_study, damage, default_tasks, study

from mergekit_finance.report.charts import CHARTS
from mergekit_finance.report.leaderboard import leaderboard
from mergekit_finance.report.table_files import csv_text
from mergekit_finance.report.writing import build
from mergekit_finance.study.results import load_results
from mergekit_finance.study.times import TimeLog

BROWSER = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
DRIVER = shutil.which("chromedriver")
pytestmark = pytest.mark.skipif(
    not (BROWSER and DRIVER),
    reason="no chromium and chromedriver here (Debian: apt-get install chromium chromium-driver)",
)
FLAGS = (
    "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync"
).split()
NASTY = (
    "</script><script>window.hit=1</script></textarea></style></title><img src=x onerror=window.hit=1>"
    "<svg onload=window.hit=1><iframe srcdoc='<script>parent.hit=1</script>'></iframe>{{ 7*7 }}${window.hit=1}"
    "<a href='javascript:window.hit=1'>x</a>\" onmouseover=\"window.hit=1\" '-->]]>\u2028"
)


@pytest.fixture(scope="module")
def driver(tmp_path_factory):
    """One browser for all tests of this file."""
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service

    options = webdriver.ChromeOptions()
    options.binary_location = BROWSER
    for flag in [*FLAGS, f"--user-data-dir={tmp_path_factory.mktemp('browser')}"]:
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    started = webdriver.Chrome(options=options, service=Service(DRIVER))
    started.set_script_timeout(HANG)
    yield started
    started.quit()


@pytest.fixture
def browser(driver):
    """The browser as it was at its start: an empty page, the screen's media, nothing in its logs."""
    driver.get("about:blank")
    driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "", "features": []})
    for kind in ("browser", "performance"):
        driver.get_log(kind)
    return driver


def show(browser, page, width=1440, dark=False):
    size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False}
    theme = [{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}]
    theme.append({"name": "prefers-reduced-motion", "value": "reduce"})  # no smooth scrolling before a click
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": theme})
    browser.get(page.as_uri())


def find(browser, selector):
    from selenium.webdriver.common.by import By

    return browser.find_elements(By.CSS_SELECTOR, selector)


def requests(browser):
    """Return the addresses that the page requested, without those of the browser's own empty tab."""
    events = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
    addresses = [e["params"]["request"]["url"] for e in events if e["method"] == "Network.requestWillBeSent"]
    return [url for url in addresses if not url.startswith(("data:", "chrome:", "chrome-untrusted:"))]


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    """Return the report of a study without hostile text."""
    return page_of(study(tmp_path_factory.mktemp("plain") / "out"))


def page_of(out, **options):
    build(out, **options)
    return (out / "report.html").resolve()


def test_untrusted_text_does_not_run(browser, tmp_path, monkeypatch):
    accept_any_name(monkeypatch)
    out = study(tmp_path / "out", names={"math": f"math{NASTY}"}, text=NASTY, reply=NASTY, item=NASTY)
    change_study(monkeypatch, name=NASTY)
    damage(out, "summary.json", lambda s: s["verdict"].append({"about": NASTY, "text": NASTY}))
    for recipe in out.glob("points/*/recipe.yml"):
        recipe.write_text(NASTY)
    show(browser, page_of(out))
    browser.execute_script("document.querySelectorAll('details').forEach((d) => { d.open = true; })")
    browser.execute_script("document.querySelectorAll('.pick, button.sort').forEach((b) => b.click())")
    assert browser.execute_script("return window.hit") is None
    assert len(find(browser, "script")) == 2 and not find(
        browser, "iframe, textarea, [onerror], [onmouseover], [onload], svg:not(.chart, .swatch)"
    )
    shown = [element.get_attribute("textContent") for element in find(browser, ".detail pre, .answer span")]
    assert any(NASTY in text for text in shown)  # it is shown as text
    assert not browser.get_log("browser")


def test_the_security_policy_blocks_injected_scripts(browser, plain):
    show(browser, plain)
    browser.execute_script(
        "const s = document.createElement('script'); s.textContent = 'window.hit = 1'; document.body.append(s);"
        "const i = document.createElement('img'); i.setAttribute('onerror', 'window.hit = 2'); i.src = 'https://example.org/x';"
        "document.body.append(i);"
    )
    assert browser.execute_script("return window.hit") is None
    assert any("Content Security Policy" in entry["message"] for entry in browser.get_log("browser"))


@pytest.mark.parametrize("width", [360, 1440])
@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_the_page_fits_the_screen_in_both_themes_without_errors(browser, plain, width, dark):
    show(browser, plain, width, dark)
    assert browser.execute_script("return document.documentElement.scrollWidth") <= width
    assert not browser.get_log("browser")
    assert set(requests(browser)) == {plain.as_uri()}
    ground = browser.execute_script("return getComputedStyle(document.body).backgroundColor")
    assert (ground == "rgb(13, 17, 23)") is dark
    assert browser.execute_script(DRAWN) == [] and len(find(browser, "figure")) == len(CHARTS)


AXE = """
const done = arguments[0];
document.querySelectorAll("details").forEach((d) => { d.open = true; });
document.querySelector(".pick").click();
const nodes = (rule) => rule.nodes.map((node) => node.html.slice(0, 200));
axe.run().then((found) => done(found.violations.map((rule) => [rule.impact, rule.id, nodes(rule)])));
"""


@pytest.mark.parametrize(("width", "dark"), [(1440, False), (390, True)], ids=["light", "dark"])
def test_axe_has_no_finding(browser, plain, width, dark):
    axe = pytest.importorskip("axe_core_python", reason="axe-core-python is not installed")
    show(browser, plain, width, dark)
    browser.execute_script((Path(axe.__file__).parent / "axe.min.js").read_text("utf-8"))
    assert browser.execute_async_script(AXE) == []


DRAWN = """
document.querySelectorAll("details").forEach((d) => { d.open = true; });
const empty = [...document.querySelectorAll(".chart")].filter((c) => !c.querySelector(".value") || c.getBBox().height < 20);
const outside = [...document.querySelectorAll(".chart text")].filter((t) => {
  const box = t.getBoundingClientRect();
  return box.right > document.documentElement.clientWidth + 1 || box.left < 0;
});
return [...empty, ...outside].map((e) => e.textContent);
"""
CONTRAST = """
const light = (colour) => {
  const part = (c) => (c /= 255) <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4;
  const [r, g, b] = colour.match(/\\d+/g).slice(0, 3).map((c) => part(Number(c)));
  return 0.2126 * r + 0.7152 * g + 0.0722 * b;
};
const style = getComputedStyle(document.querySelector("td.right"));
const both = [light(style.color), light(style.backgroundColor)].sort((a, b) => b - a);
return (both[0] + 0.05) / (both[1] + 0.05);
"""


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_the_mark_of_a_right_answer_has_enough_contrast(browser, plain, dark):
    show(browser, plain, dark=dark)
    assert browser.execute_script(CONTRAST) >= 4.5


def right_shade(browser, box, along):
    """Return the gray level at the right edge of a box that is scrolled to one of its ends."""
    import io

    from PIL import Image

    browser.execute_script(
        "arguments[0].scrollIntoView(); arguments[0].scrollLeft = arguments[1]", box, along
    )
    picture = Image.open(io.BytesIO(browser.get_screenshot_as_png())).convert("L")
    place = browser.execute_script(
        "const r = arguments[0].getBoundingClientRect(); return [r.right - 4, r.bottom - 28]", box
    )
    return picture.getpixel(tuple(map(int, place)))


HEADS = """
return [...document.querySelectorAll(".scroll")].filter((box) => box.querySelector("tbody tr")).map((box) => {
  box.scrollLeft = 9999;
  const head = box.querySelector("tbody th").getBoundingClientRect();
  return [box.clientWidth < box.scrollWidth, head.left - box.getBoundingClientRect().left];
});
"""


def test_on_small_screens_a_shadow_marks_hidden_columns_and_row_heads_stay_in_view(browser, plain):
    show(browser, plain, 390)
    box = find(browser, ".scroll")[0]
    assert right_shade(browser, box, 0) < 240 < right_shade(browser, box, 9999)
    browser.execute_script("document.querySelectorAll('details').forEach((d) => { d.open = true; })")
    heads = browser.execute_script(HEADS)
    assert len(heads) == 7 and all(0 <= left <= 2 for scrolls, left in heads if scrolls)


MANY_TASKS = [f"{word}_{n}" for n in range(11) for word in ("retention", "consistency")]
LONG_NAMES = [f"{word}_{n}" for n in range(9) for word in ("retention_openbookqa", "security_winogrande")]


@pytest.mark.parametrize("names", [MANY_TASKS, LONG_NAMES], ids=["many tasks", "long names"])
def test_no_column_is_off_screen_at_1440_pixels(browser, tmp_path, names):
    task = default_tasks()["finance_bench_fpb"]
    names = [*(f"finance_bench_{name}" for name in names), "finance_bench_f"]
    show(browser, page_of(study(tmp_path / "out", tasks=dict.fromkeys(names, task))))
    browser.execute_script("document.querySelectorAll('details').forEach((d) => { d.open = true; })")
    wide = "return [...document.querySelectorAll('.scroll')].filter((b) => b.scrollWidth > b.clientWidth).map((b) => b.ariaLabel)"
    assert browser.execute_script(wide) == []


SEVEN = [skills for n in (1, 2, 3) for skills in itertools.combinations(("finance", "math", "japanese"), n)]
STACKED = """
return [...document.querySelectorAll('#table-leaderboard td[data-low]')].map((cell) => {
  const [ends, value] = [cell.querySelector('.ends').getBoundingClientRect(), document.createRange()];
  value.selectNode(cell.firstChild);
  const above = value.getBoundingClientRect();
  return [above.bottom <= ends.top + 1, ends.height < 1.2 * above.height, cell.textContent];
});
"""


def test_intervals_of_eight_groups_of_skills_and_seven_merges_fit_1440_pixels(browser, tmp_path):
    common = default_tasks()["finance_bench_fpb"]
    tasks = {
        f"finance_bench_{''.join(w[0] for w in s) or 'n'}": {**common, "skills": [*s]} for s in [*SEVEN, ()]
    }
    tasks |= {"finance_bench_retention_arc": default_tasks()["finance_bench_retention_arc"]}
    merges = {n: [skills for skills in SEVEN if len(skills) == n] for n in (1, 2, 3)}
    page = page_of(study(tmp_path / "out", tasks=tasks, combinations=merges, groups=True))
    show(browser, page)
    box = find(browser, "#verdict .scroll")[0]
    assert (
        find(browser, "#table-leaderboard tbody tr")[10]
        and len(find(browser, "#table-leaderboard th button")) == 16
    )
    assert browser.execute_script("return arguments[0].scrollWidth <= arguments[0].clientWidth", box)
    cells = browser.execute_script(STACKED)
    assert len(cells) >= 11 * 9 and all(below and one_line for below, one_line, _ in cells)
    assert all(re.fullmatch(r"[+-]?[\d.]+ \[[+-]?[\d.]+,\s[+-]?[\d.]+\]", text) for *_, text in cells)
    show(browser, page, 390)
    assert browser.execute_script("return document.documentElement.scrollWidth <= innerWidth")


def test_figures_show_their_values_on_hover_and_by_keyboard(browser, plain):
    from selenium.webdriver.common.action_chains import ActionChains
    from selenium.webdriver.common.keys import Keys

    show(browser, plain)
    chart = find(browser, "#figure-stages .chart")[0]
    marks = chart.find_elements("css selector", ".value")
    tip = find(browser, "#tip")[0]
    assert not tip.is_displayed() and not find(browser, ".value title")  # no second tooltip
    browser.execute_script("arguments[0].focus()", marks[0])
    assert tip.is_displayed() and tip.text == "base: macro 40.0 [35.0, 45.0]"
    browser.switch_to.active_element.send_keys(Keys.ARROW_DOWN)
    assert tip.text.startswith("finance: macro 43.0") and browser.switch_to.active_element == marks[1]
    browser.switch_to.active_element.send_keys(Keys.TAB)  # one stop for each picture
    assert browser.switch_to.active_element.find_element("xpath", "..") != chart
    ActionChains(browser).move_to_element(marks[2]).perform()
    assert tip.text.startswith("japanese: macro ")


def open_tables(browser):
    """Open all tables, and wait until they are laid out: before that, a click is refused on a busy machine."""
    from selenium.webdriver.support.ui import WebDriverWait

    browser.execute_script("document.querySelectorAll('.tabled').forEach((d) => { d.open = true; })")
    WebDriverWait(browser, HANG).until(lambda _: find(browser, "#table-points button.sort")[5].is_displayed())


def test_tables_sort_and_filter(browser, plain):
    show(browser, plain)
    column = (
        "return [...document.querySelectorAll('#table-points tbody tr')].map((r) => r.cells[5].textContent)"
    )
    open_tables(browser)
    find(browser, "#table-points button.sort")[5].click()
    values = [float(text.split()[0]) for text in browser.execute_script(column)]
    assert values == sorted(values, reverse=True)
    assert find(browser, "#table-points th")[5].get_attribute("aria-sort") == "descending"
    find(browser, "#table-points button.sort")[5].click()
    assert find(browser, "#table-points th")[5].get_attribute("aria-sort") == "ascending"
    find(browser, "[data-for=table-points] input")[0].send_keys("ties 0.6")
    shown = [row for row in find(browser, "#table-points tbody tr") if row.is_displayed()]
    assert len(shown) == 4 and all("TIES" in row.text for row in shown)


def sorted_by(browser, title, clicks):
    """Return the texts of a column of "All points" after this number of clicks on its header."""
    heads = [head.get_attribute("textContent") for head in find(browser, "#table-points th")]
    place = heads.index(title)
    for _ in range(clicks):
        find(browser, "#table-points button.sort")[place].click()
    cells = (
        f"[...document.querySelectorAll('#table-points tbody tr')].map((r) => r.cells[{place}].textContent)"
    )
    return browser.execute_script(f"return {cells}")


@pytest.fixture(scope="module")
def ranked(tmp_path_factory):
    """Return the report of a study whose 16 points all have different numbers."""
    out = study(
        tmp_path_factory.mktemp("ranked") / "out", operators={"task_arithmetic": [0.1, 0.5, 0.3, 0.9]}
    )
    summary = json.loads((out / "summary.json").read_text())
    for i, point in enumerate(summary["points"].values()):
        point |= {key: (7 * i % 16 - 8) / 100 for key in ("macro_on_selection", "macro_gain", "macro_og")}
    (out / "summary.json").write_text(json.dumps(summary))
    return page_of(out)


@pytest.mark.parametrize("clicks", [1, 2])
@pytest.mark.parametrize("title", ["on selection items", "Macro-Gain", "Macro-OG"])
def test_empty_cells_are_last_in_both_sort_orders(browser, ranked, title, clicks):
    show(browser, ranked)
    open_tables(browser)
    column = sorted_by(browser, title, clicks)
    assert column[-4:] == [""] * 4 and "" not in column[:-4]  # the base and three experts have no Gain
    values = [float(text) for text in column[:-4]]
    assert len(set(values)) == 16 and values == sorted(values, reverse=clicks == 1)


def test_name_columns_are_first_sorted_ascending(browser, plain):
    show(browser, plain)
    open_tables(browser)
    column = sorted_by(browser, "operator", 1)
    assert column == sorted(column, key=str.lower) and {"TIES", "none"} <= set(column)
    assert sorted_by(browser, "operator", 1) == sorted(column, key=str.lower, reverse=True)


TURN = "\u202e"  # right-to-left override
ORDERED = """
const after = (bdi) => {
  const range = document.createRange(), text = bdi.nextSibling;
  const left = (i) => { range.setStart(text, i); range.setEnd(text, i + 1); return range.getBoundingClientRect().left; };
  return text.textContent.slice(0, 6) + (text.length < 5 || left(1) < left(4) ? "" : " is turned");
};
return [...document.querySelectorAll("h1 bdi, .ship dt bdi, .ship .note bdi")].map(after);
"""


def test_a_name_that_changes_text_direction_affects_only_itself(browser, tmp_path, monkeypatch):
    accept_any_name(monkeypatch)
    out = study(tmp_path / "out", names={"math": f"ma{TURN}th"})
    ship = {"model": f"ma{TURN}th", "best_single": f"ma{TURN}th"}
    change_study(monkeypatch, name=f"ti{TURN}ny")
    damage(out, "summary.json", lambda s: s["ship"].update(ship))
    show(browser, page_of(out))
    browser.execute_script("document.querySelectorAll('.ship details').forEach((d) => { d.open = true; })")
    assert browser.execute_script(ORDERED) == [": effe", ")", ": best"]
    assert browser.title.startswith("\u2068tiny\u2069: effects")
    isolation = "return getComputedStyle(document.querySelector(arguments[0])).unicodeBidi"
    assert {browser.execute_script(isolation, kind) for kind in ("td", "th", "label", "option")} == {
        "isolate"
    }


def test_printing_opens_every_table_and_restores_the_screen(browser, plain):
    show(browser, plain)
    rows = "return [...document.querySelectorAll('#tables table')].map((t) => t.getBoundingClientRect().height > 9)"
    opened = "return [...document.querySelectorAll('.tabled')].map((d) => d.open)"
    assert browser.execute_script(opened) == [True, False, False]
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print"})
    browser.execute_script("dispatchEvent(new Event('beforeprint'))")
    assert browser.execute_script(rows) == [True] * 3 and not find(browser, "#items")[0].is_displayed()
    browser.execute_script("dispatchEvent(new Event('afterprint'))")
    assert browser.execute_script(opened) == [True, False, False]


def test_the_item_browser_works_by_keyboard(browser, tmp_path):
    from selenium.webdriver.common.keys import Keys

    tasks = default_tasks()
    tasks["finance_bench_fpb"]["text_may_be_shared"] = False
    show(browser, page_of(study(tmp_path / "out", tasks=tasks, text="THE PROMPT")))
    first = find(browser, ".pick")[0]
    first.send_keys(Keys.ENTER)
    assert first.get_attribute("aria-expanded") == "true"
    assert "THE PROMPT" not in browser.page_source.split('id="data"')[0]
    assert find(browser, "#hidden-text")[0].is_displayed()
    find(browser, "#task")[0].send_keys(Keys.ARROW_DOWN)
    assert not find(browser, ".detail") and not find(browser, "#hidden-text")[0].is_displayed()
    find(browser, ".pick")[1].send_keys(Keys.SPACE)
    assert (
        "THE PROMPT 1" in find(browser, ".detail")[0].text and "a reply 1" in find(browser, ".detail")[0].text
    )
    find(browser, "#which")[0].send_keys("right by no model")
    assert find(browser, "#count")[0].text.endswith("of 6 items")


def test_a_page_with_text_has_a_banner(browser, tmp_path):
    show(browser, page_of(study(tmp_path / "out"), with_text=True), 360)
    banner = find(browser, ".banner")[0]
    assert banner.is_displayed() and banner.text == "contains dataset text: do not share"


def test_every_table_is_copied_as_csv(browser, tmp_path):
    """Also the items, whose cells are 1 and 0. A name that a spreadsheet would run as a formula is text."""
    out = study(tmp_path / "out", item="=item")
    log = TimeLog(out, "cpu", 3)
    log.add("generate", 300.0)
    log.write()
    show(browser, page_of(out))
    open_tables(browser)
    browser.execute_script(
        "window.copies = []; document.querySelectorAll('details').forEach((d) => { d.open = true; });"
        "navigator.clipboard.writeText = async (text) => { copies.push(text.split('\\n')); };"
        "document.querySelector('.pick').click();"  # the answers below an item are no row
        "document.querySelectorAll('[data-format=csv]').forEach((button) => button.click());"
    )
    copies = browser.execute_async_script("setTimeout(() => arguments[0](copies), 0)")
    assert len(copies) == len(find(browser, "table"))
    assert ["work,time,share", "generated answers,300.0,1.0"] in copies
    assert (
        csv_text(leaderboard(load_results(out))).splitlines() in copies
    )  # as `report --format csv` writes it
    (sheet,) = [lines for lines in copies if lines[0].startswith("item,")]
    rows = [line.split(",") for line in sheet[1:]]
    assert len(rows) == 6 and {value for row in rows for value in row[1:]} == {"0", "1"}
    assert rows[0][0].startswith("'=item")


def test_long_names_of_rows_do_not_cover_the_next_column_on_small_screens(browser, tmp_path):
    names = {"math": "an_expert_with_quite_a_long_name_of_40_char"[:40]}
    show(browser, page_of(study(tmp_path / "out", names=names)), 390)
    browser.execute_script("document.querySelectorAll('details').forEach((d) => { d.open = true; })")
    wider = "return [...document.querySelectorAll('.data tbody th')].filter((c) => c.scrollWidth > c.clientWidth + 1)"
    assert not browser.execute_script(wider)
