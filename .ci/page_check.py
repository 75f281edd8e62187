"""The status page in headless Chromium, as a person meets it: wide and narrow, light and dark, by mouse and by keyboard.

    page_check.py WINDROW --brokers HOST:PORT --topic TOPIC --out FOLDER [--chromedriver PATH]

TOPIC is new, and has four partitions.

Runs a pipeline over generated rides with --listen, and looks at its page through WebDriver, with nothing but Python's own
library: no message on the console, no request to anywhere else, nothing wider than the window, everything that can be worked
reached by Tab with a ring around it, text with a contrast of 4.5 to 1 or more, live without a reload, words for an outage.
Screenshots are left in FOLDER.
"""

import argparse
import base64
import json
import os
import pathlib
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request

PATIENCE = 60
SIZES = {"wide": (1280, 1400), "phone": (390, 1800)}

# Every visible text with the contrast between it and what lies behind it.
CONTRAST = """
const rgb = text => (text.match(/[\\d.]+/g) || []).map(Number);
const line = c => { c /= 255; return c <= 0.03928 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4; };
const light = c => 0.2126 * line(c[0]) + 0.7152 * line(c[1]) + 0.0722 * line(c[2]);
const behind = element => {
  for (let at = element; at; at = at.parentElement) {
    const color = rgb(getComputedStyle(at).backgroundColor);
    if (color.length === 3 || color[3] === 1) return color;
  }
  return rgb(getComputedStyle(document.body).backgroundColor);
};
const found = [];
const walk = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
while (walk.nextNode()) {
  const element = walk.currentNode.parentElement, text = walk.currentNode.textContent.trim();
  if (!text || !element.checkVisibility() || ["SCRIPT", "STYLE", "NOSCRIPT"].includes(element.tagName)) continue;
  const [a, b] = [light(rgb(getComputedStyle(element).color)), light(behind(element))].sort((x, y) => y - x);
  const contrast = (a + 0.05) / (b + 0.05);
  if (contrast < 4.5) found.push(text.slice(0, 40) + ": " + contrast.toFixed(2));
}
return found;
"""


class Browser:
    """A session of chromedriver's."""

    def __init__(self, address, dark, size):
        arguments = ["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--hide-scrollbars"]
        options = {"args": arguments + [f"--window-size={size[0]},{size[1]}"]}
        capabilities = {"goog:chromeOptions": options, "goog:loggingPrefs": {"browser": "ALL"}}
        self.address = address
        session = self.ask("POST", "/session", {"capabilities": {"alwaysMatch": capabilities}})
        self.address += f"/session/{session['sessionId']}"
        # A window has a least width; a phone's screen is set apart from it.
        metrics = {"width": size[0], "height": size[1], "deviceScaleFactor": 1, "mobile": size[0] < 600}
        self.command("Emulation.setDeviceMetricsOverride", metrics)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.command("Emulation.setEmulatedMedia", {"features": [scheme]})

    def ask(self, method, path, body=None):
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.address + path, data, {"content-type": "application/json"}, method=method)
        try:
            with urllib.request.urlopen(request, timeout=PATIENCE) as answer:
                return json.load(answer)["value"]
        except urllib.error.HTTPError as error:
            raise SystemExit(f"chromedriver: {error.read().decode()[:500]}")

    def command(self, name, parameters):
        return self.ask("POST", "/goog/cdp/execute", {"cmd": name, "params": parameters})

    def run(self, script):
        return self.ask("POST", "/execute/sync", {"script": script, "args": []})

    def press(self, key):
        self.ask("POST", "/actions", {"actions": [{"type": "key", "id": "keys", "actions": [
            {"type": "keyDown", "value": key}, {"type": "keyUp", "value": key}]}]})

    def until(self, what, script, seconds=PATIENCE):
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            if self.run(script):
                return
            time.sleep(0.2)
        self.shoot(pathlib.Path("failed.png"))
        raise SystemExit(f"the page never showed {what}; it said: {self.run('return document.body.innerText')[:2000]}")

    def shoot(self, path):
        # As large as the page is, whatever the window's height.
        picture = self.command("Page.captureScreenshot", {"format": "png", "captureBeyondViewport": True})
        path.write_bytes(base64.b64decode(picture["data"]))

    def close(self):
        self.ask("DELETE", "")


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def expect(holds, what):
    if not holds:
        raise SystemExit(f"status page: {what}")


def pipeline(brokers, topic, folder):
    return f"""
name = "rides_by_zone"
[source]
format = "json"
[source.kafka]
brokers = "{brokers}"
topic   = "{topic}"
group   = "{topic}"
[source.columns]
dropoff_at      = "timestamp"
pickup_location = "text"
total_amount    = "decimal(12, 2)"
[window]
event_time       = "dropoff_at"
size             = "1 hour"
watermark_delay  = "10 minutes"
allowed_lateness = "2 hours"
[query]
sql = "SELECT pickup_location, SUM(total_amount) AS revenue FROM rides GROUP BY pickup_location"
[sink]
url = "{folder}/sink"
commit_interval = "1 second"
"""


def generate(windrow, brokers, topic, start, records):
    subprocess.run(
        [windrow, "generate", "rides", "--records", str(records), "--late", "2%", "--broken", "0.1%", "--start", start,
         "--brokers", brokers, "--topic", topic, "--partitions", "4", "--quiet"],
        check=True)


def look(driver, page, out, name, dark, size):
    browser = Browser(driver, dark, size)
    try:
        browser.ask("POST", "/url", {"url": page})
        browser.until("commits", "return document.querySelectorAll('#commits tr').length > 1")
        browser.until("published windows", "return document.querySelectorAll('.block.done').length > 2")
        browser.until("open windows", "return document.querySelectorAll('.block:not(.done)').length > 0")
        expect(browser.run("return document.querySelectorAll('.lanes .row').length") == 5, "a lane for each partition")
        expect(browser.run("return document.querySelectorAll('#files tr').length") > 2, "the last results")
        expect(browser.run("return document.querySelector('.bin.mark') !== null"), "watermark_delay in the histogram")
        expect(browser.run("return document.getElementById('state').textContent") == "ready", "it is ready")
        over = browser.run("return document.documentElement.scrollWidth - innerWidth")
        expect(over <= 0, f"{name}: {over} pixels wider than the window")
        pale = browser.run(CONTRAST)
        expect(not pale, f"{name}: too little contrast: {pale}")
        browser.shoot(out / f"{name}.png")
        # By keyboard: everything that can be worked, each with a ring around it.
        seen = []
        for _ in range(12):
            browser.press("\ue004")
            at = browser.run("const e = document.activeElement; return e === document.body ? null : "
                             "[e.tagName + '#' + (e.id || e.textContent || e.getAttribute('aria-label')).slice(0, 20), "
                             "getComputedStyle(e).outlineStyle !== 'none']")
            if at is None or at[0] in [one for one, _ in seen]:
                break
            seen.append(at)
        expect(len(seen) >= 5, f"{name}: Tab reaches {seen}")
        expect(all(ring for _, ring in seen), f"{name}: no ring around {seen}")
        # It is live, and stops and goes on when asked to, by the space bar.
        browser.run("document.getElementById('pause').focus()")
        before = browser.run("return document.getElementById('version').textContent")
        browser.until("a newer state", f"return document.getElementById('version').textContent !== {json.dumps(before)}")
        browser.press(" ")
        expect(browser.run("return document.getElementById('pause').getAttribute('aria-pressed')") == "true", "it pauses")
        held = browser.run("return document.getElementById('version').textContent")
        time.sleep(2.5)
        expect(browser.run("return document.getElementById('version').textContent") == held, "it stays paused")
        browser.press(" ")
        browser.until("it goes on", f"return document.getElementById('version').textContent !== {json.dumps(held)}")
        elsewhere = browser.run("return performance.getEntriesByType('resource').map(e => e.name)"
                                ".filter(name => !name.startsWith(location.origin) && !name.startsWith('data:'))")
        expect(not elsewhere, f"{name}: it asked elsewhere: {elsewhere}")
        unnamed = browser.run("return [...document.querySelectorAll('[role=img], button, [role=region]')]"
                              ".filter(e => !(e.getAttribute('aria-label') || e.textContent.trim())).length")
        expect(unnamed == 0, f"{name}: {unnamed} things without a name for those who do not see them")
        said = [line for line in browser.ask("POST", "/se/log", {"type": "browser"})]
        expect(not said, f"{name}: the console says {said}")
    finally:
        browser.close()


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("windrow")
    parser.add_argument("--brokers", required=True)
    parser.add_argument("--topic", required=True)
    parser.add_argument("--chromedriver", default=shutil.which("chromedriver"))
    parser.add_argument("--out", type=pathlib.Path, required=True)
    options = parser.parse_args()
    windrow = os.path.abspath(options.windrow)
    options.out.mkdir(parents=True, exist_ok=True)
    topic = options.topic
    port, driver_port = free_port(), free_port()
    with tempfile.TemporaryDirectory() as folder:
        generate(windrow, options.brokers, topic, "2026-03-01T00:00:00Z", 20000)
        file = pathlib.Path(folder) / "rides.toml"
        file.write_text(pipeline(options.brokers, topic, folder))
        log = open(pathlib.Path(folder) / "log", "w")
        run = subprocess.Popen([windrow, "run", str(file), "--listen", str(port)], stderr=log)
        driver = subprocess.Popen([options.chromedriver, f"--port={driver_port}"], stdout=subprocess.DEVNULL)
        try:
            address, page = f"http://127.0.0.1:{driver_port}", f"http://127.0.0.1:{port}/"
            for what in (address + "/status", page + "healthz"):
                end = time.monotonic() + PATIENCE
                while True:
                    try:
                        urllib.request.urlopen(what, timeout=5).read()
                        break
                    except OSError:
                        expect(time.monotonic() < end, f"{what} does not answer")
                        time.sleep(0.1)
            for scheme in ("light", "dark"):
                for name, size in SIZES.items():
                    look(address, page, options.out, f"{name}-{scheme}", scheme == "dark", size)
                    print(f"{name}, {scheme}: sound")
            # When the process has gone, the page says so.
            browser = Browser(address, False, SIZES["wide"])
            try:
                browser.ask("POST", "/url", {"url": page})
                browser.until("that it is ready", "return document.getElementById('state').textContent === 'ready'")
                run.terminate()
                run.wait(PATIENCE)
                browser.until("that nothing answers", "return document.getElementById('state').textContent === 'no answer'")
                browser.shoot(options.out / "gone.png")
            finally:
                browser.close()
            print("gone: told")
        finally:
            for process in (run, driver):
                process.terminate()
                process.wait(PATIENCE)


if __name__ == "__main__":
    sys.exit(main())
