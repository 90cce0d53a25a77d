"""The page in a headless Chromium: keyboard, live update, accessibility.

usage: page.py URL AXE_JS SHOTS NAME PASSWORD

Prints `send` when it is ready for a new image, and fails with what it expected. AXE_JS is axe-core's script.
"""

import sys
import tempfile

from browser import Browser

URL, AXE_JS, SHOTS, NAME, PASSWORD = sys.argv[1:]


def main(folder):
    browser = Browser(folder, AXE_JS, SHOTS)
    try:
        walk(browser)
    finally:
        browser.process.kill()
        browser.process.wait()


def walk(browser):
    browser.width(1280, 900)
    browser.call("Page.navigate", url=URL)
    browser.until("the log-in", "document.getElementById('login')?.open")
    browser.accessible("log-in")
    browser.shot("login.png")

    # By keyboard alone: the name has the focus.
    def log_in(password):
        browser.write(NAME)
        browser.key("Tab", 9)
        browser.write(password)
        browser.key("Enter", 13, "\r")

    log_in("not the password")
    browser.until("the refusal", "document.getElementById('login-said').textContent.includes('wrong')")
    assert browser.ask("document.activeElement.id") == "password"
    browser.ask("document.getElementById('name').focus(), document.getElementById('name').select()")
    log_in(PASSWORD)
    browser.until("the end of the log-in", "!document.getElementById('login').open")
    browser.until("who I am", f"document.getElementById('who').textContent.includes('{NAME}')")
    browser.until("the box's state", "document.getElementById('status').textContent === 'ready'")
    browser.until("the first image", "document.querySelectorAll('#cards .finding').length")

    # What the archive refused is sent again by keyboard, and leaves the list.
    dead = "[...document.querySelectorAll('#rows tr')].filter((r) => r.textContent.includes('dead'))"
    browser.until("six dead letters", f"{dead}.length === 6")
    browser.accessible("dead letters")
    browser.shot("queue.png")
    browser.ask(f"{dead}[0].querySelector('[data-action$=retry]').focus()")
    browser.key("Enter", 13, "\r")
    browser.until("one dead letter less", f"{dead}.length === 5")
    browser.until("what became of it", "document.getElementById('queue-said').textContent.includes('retry')")
    assert browser.ask("document.getElementById('queue').contains(document.activeElement)"), "the focus is lost"

    # Giving up needs a reason, and can be thought over.
    browser.ask(f"{dead}[0].querySelector('[data-action$=drop]').focus()")
    browser.key("Enter", 13, "\r")
    browser.until("the question why", "document.getElementById('drop').open && document.activeElement.id === 'why'")
    browser.accessible("giving up")
    browser.key("Escape", 27)
    browser.until("its end", "!document.getElementById('drop').open")
    assert browser.ask(f"{dead}.length") == 5
    browser.ask(f"{dead}[0].querySelector('[data-action$=drop]').focus()")
    browser.key("Enter", 13, "\r")
    browser.until("the question again", "document.getElementById('drop').open")
    browser.write("the archive was replaced")
    browser.key("Enter", 13, "\r")
    browser.until("another dead letter less", f"{dead}.length === 4 && !document.getElementById('drop').open")

    # An exposure whose image never came.
    browser.until("the missing image", "!document.getElementById('exposures').hidden && "
                  "document.querySelectorAll('#missing tr').length === 1")
    row = browser.ask("[...document.querySelector('#missing tr').cells].map((c) => c.textContent)")
    assert row[:2] == ["4711", "2"] and row[2].endswith(" ago") and row[3:] == ["125", ""], row
    browser.accessible("a missing image")

    # Day by day, drawn and as a table; and the bundle that looks on.
    browser.until("the days", "document.querySelectorAll('#charts svg').length >= 3")
    browser.ask("document.querySelector('#trends summary').click()")
    today = "document.querySelector('#days tr')"
    browser.until("today", f"{today} && /^20\\d\\d-/.test({today}.textContent) && {today}.cells[1].textContent >= 3")
    assert browser.ask("document.querySelectorAll('#days tr').length") == 30
    browser.until("what drifts", "document.querySelectorAll('#drift-charts svg').length === 6")
    browser.ask("document.querySelector('#drift summary').click()")
    assert browser.ask("document.querySelectorAll('#drift-rows tr').length") == 23
    assert browser.ask("document.querySelectorAll('#drift-source option').length") == 2
    browser.ask("document.getElementById('drift').scrollIntoView()")
    browser.accessible("drift")
    browser.shot("drift.png")
    browser.ask("document.querySelector('#drift summary').click()")
    browser.until("the shadow", "document.querySelectorAll('#shadow-rows tr').length === 2")
    browser.accessible("the days and the shadow")
    browser.shot("days.png")
    browser.ask("document.querySelector('#trends summary').click()")

    # What comes later comes without a reload, and what is there stays the same node.
    browser.ask("window.before = document.querySelector('#cards > li'), true")
    count = browser.ask("document.querySelectorAll('#cards > li').length")
    print("send", flush=True)
    browser.until("the new image", f"document.querySelectorAll('#cards .finding').length && "
                  f"document.querySelectorAll('#cards > li').length === {count + 1}")
    browser.until("its answer", "[...document.querySelectorAll('#cards .row')].every((r) => !/waiting|running/.test(r.textContent))")
    assert browser.ask("window.before.isConnected"), "an unchanged card was replaced"
    browser.until("the pictures", "[...document.images].filter((i) => i.closest('#cards')).every((i) => i.complete && i.naturalWidth > 0)")
    browser.accessible("the page")
    browser.shot("page.png")

    # The picture opens and closes by keyboard, and the focus comes back.
    browser.ask("document.querySelector('.picture button').focus()")
    browser.key("Enter", 13, "\r")
    browser.until("the enlarged picture", "document.getElementById('zoom').open")
    browser.accessible("the enlarged picture")
    browser.key("Escape", 27)
    browser.until("its end", "!document.getElementById('zoom').open")
    assert browser.ask("document.activeElement.matches('.picture button')"), "the focus is lost"

    for width, height, name in [(768, 1024, "tablet.png"), (390, 844, "phone.png")]:
        browser.width(width, height)
        browser.ask("window.scrollTo(0, 0)")
        wide = browser.ask("document.documentElement.scrollWidth")
        assert wide <= width, f"at {width} the page is {wide} wide"
        browser.accessible(name)
        browser.shot(name)

    browser.width(1280, 900)
    browser.ask("document.getElementById('leave').click()")
    browser.until("the log-in after logging out", "document.getElementById('login')?.open && !document.querySelector('#cards > li')")
    refused = [text for text in browser.complaints if "401" not in text]
    assert refused == [], f"the browser complains: {refused}"


with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
    main(folder)
