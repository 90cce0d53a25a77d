"""A headless Chromium over its debugging protocol, for tests of pages."""

import base64
import itertools
import json
import os
import shutil
import subprocess
import time
import urllib.request

import websocket

PATIENCE = 60


def wait(what, look):
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        found = look()
        if found:
            return found
        time.sleep(0.05)
    raise AssertionError(f"waited too long for {what}")


class Browser:
    """One tab."""

    def __init__(self, folder, axe_js, shots):
        self.axe_js, self.shots = axe_js, shots
        chromium = shutil.which("chromium") or shutil.which("chromium-browser")
        self.process = subprocess.Popen(
            [chromium, "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage",
             "--no-first-run", "--remote-debugging-port=0", "--remote-allow-origins=*", f"--user-data-dir={folder}",
             "about:blank"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        told = os.path.join(folder, "DevToolsActivePort")
        wait("Chromium", lambda: os.path.exists(told) and open(told).read().count("\n"))
        port = open(told).read().split("\n")[0]
        tabs = wait("a tab", lambda: [t for t in json.load(urllib.request.urlopen(f"http://127.0.0.1:{port}/json/list"))
                                      if t["type"] == "page"])
        self.socket = websocket.create_connection(tabs[0]["webSocketDebuggerUrl"], timeout=PATIENCE)
        self.numbers = itertools.count(1)
        self.complaints = []
        for domain in ["Page", "Runtime", "Log"]:
            self.call(domain + ".enable")

    def call(self, method, **parameters):
        number = next(self.numbers)
        self.socket.send(json.dumps({"id": number, "method": method, "params": parameters}))
        while True:
            message = json.loads(self.socket.recv())
            if message.get("method") == "Runtime.exceptionThrown":
                self.complaints.append(message["params"]["exceptionDetails"].get("text", "an exception"))
            if message.get("method") == "Log.entryAdded" and message["params"]["entry"]["source"] == "security":
                self.complaints.append(message["params"]["entry"]["text"])
            if message.get("id") == number:
                assert "error" not in message, message
                return message["result"]

    def ask(self, script):
        result = self.call("Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True)
        assert "exceptionDetails" not in result, result
        return result["result"].get("value")

    def until(self, what, script):
        return wait(what, lambda: self.ask(script))

    def key(self, name, code, text=None):
        for kind in ["keyDown", "keyUp"]:
            more = {"text": text} if text and kind == "keyDown" else {}
            self.call("Input.dispatchKeyEvent", type=kind, key=name, code=name, windowsVirtualKeyCode=code, **more)

    def write(self, text):
        self.call("Input.insertText", text=text)

    def width(self, width, height):
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False)

    def shot(self, name):
        picture = self.call("Page.captureScreenshot", format="png", captureBeyondViewport=False)
        with open(os.path.join(self.shots, name), "wb") as file:
            file.write(base64.b64decode(picture["data"]))

    def accessible(self, where):
        self.ask(open(self.axe_js).read() + "; true")
        found = self.ask("axe.run(document).then((r) => ({ violations: r.violations.map((v) => "
                         "v.id + ': ' + v.nodes.map((n) => n.html).join(' | ')), passes: r.passes.length }))")
        assert found["violations"] == [], f"{where}: {found['violations']}"
        assert found["passes"] > 10, f"{where}: axe-core looked at nothing"
