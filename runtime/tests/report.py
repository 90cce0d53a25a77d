"""The acceptance report in a headless Chromium: accessible, whole at every width, ready to print.

usage: report.py REPORT.html AXE_JS SHOTS
"""

import pathlib
import sys
import tempfile

from browser import Browser

REPORT, AXE_JS, SHOTS = sys.argv[1:]


def walk(browser):
    for width, height, name in [(1280, 900, "report.png"), (390, 844, "report-phone.png")]:
        browser.width(width, height)
        browser.call("Page.navigate", url=pathlib.Path(REPORT).resolve().as_uri())
        browser.until("the verdict", "document.querySelector('.verdict')?.textContent")
        wide = browser.ask("document.documentElement.scrollWidth")
        assert wide <= width, f"at {width} the report is {wide} wide"
        browser.accessible(name)
        browser.shot(name)
    browser.width(1280, 900)
    drawings = browser.ask("[...document.querySelectorAll('svg')].map((s) => s.getBoundingClientRect().height)")
    assert len(drawings) >= 3 and min(drawings) > 50, drawings
    browser.ask("[...document.querySelectorAll('h2')].find((h) => h.textContent === 'Studies').scrollIntoView()")
    browser.shot("report-studies.png")
    asked = browser.ask("performance.getEntriesByType('resource').length")
    assert asked == 0, f"the report asks for {asked} other files"
    pages = browser.call("Page.printToPDF", preferCSSPageSize=True)["data"]
    assert len(pages) > 10_000, "nothing is printed"
    browser.shot("report-wide.png")
    assert browser.complaints == [], f"the browser complains: {browser.complaints}"


with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
    browser = Browser(folder, AXE_JS, SHOTS)
    try:
        walk(browser)
    finally:
        browser.process.kill()
        browser.process.wait()
