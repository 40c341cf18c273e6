"""Chromium, headless, told what to do over its debugging pipe. It answers a 407 with what it is given then."""
import json
import os
import subprocess
import sys
import tempfile
import time

env = os.environ
ORIGINS = {"forward": env["HTTP"], "connect": env["HTTPS"]}


class Browser:
    def __init__(self, profile):
        theirs_in, self.out = os.pipe()
        self.into, theirs_out = os.pipe()

        def descriptors():
            # The pipe is expected at 3 and 4.
            spare_in, spare_out = os.dup(theirs_in), os.dup(theirs_out)
            os.dup2(spare_in, 3)
            os.dup2(spare_out, 4)

        self.process = subprocess.Popen(
            [
                env["CHROMIUM"],
                "--headless=new",
                "--no-sandbox",
                "--disable-gpu",
                "--disable-dev-shm-usage",
                "--no-first-run",
                "--disable-background-networking",
                "--disable-component-update",
                "--disable-sync",
                "--disable-default-apps",
                "--disable-extensions",
                "--no-pings",
                "--disable-features=OptimizationHints,MediaRouter",
                "--remote-debugging-pipe",
                f"--user-data-dir={profile}",
                f"--proxy-server=http://{env['PROXY']}",
                "--proxy-bypass-list=<-loopback>",
                # The one certificate, instead of an authority that its own store would have to know.
                f"--ignore-certificate-errors-spki-list={env['SPKI']}",
                "about:blank",
            ],
            preexec_fn=descriptors,
            close_fds=False,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        os.close(theirs_in)
        os.close(theirs_out)
        self.input = os.fdopen(self.into, "rb")
        self.number, self.session, self.challenges, self.credentials = 0, None, 0, True

    def read(self):
        text = bytearray()
        while (byte := self.input.read(1)) != b"\0":
            if not byte:
                raise EOFError("the browser has ended")
            text += byte
        return json.loads(text)

    def send(self, method, **parameters):
        self.number += 1
        message = {"id": self.number, "method": method, "params": parameters}
        if self.session:
            message["sessionId"] = self.session
        os.write(self.out, json.dumps(message).encode() + b"\0")
        return self.number

    def call(self, method, **parameters):
        number = self.send(method, **parameters)
        while True:
            message = self.read()
            if message.get("id") == number:
                if "error" in message:
                    raise RuntimeError(f"{method}: {message['error']}")
                return message["result"]
            self.event(message)

    def event(self, message):
        request = message.get("params", {}).get("requestId")
        if message.get("method") == "Fetch.requestPaused":
            self.send("Fetch.continueRequest", requestId=request)
        elif message.get("method") == "Fetch.authRequired":
            self.challenges += 1
            answer = {"response": "CancelAuth"}
            if self.credentials:
                answer = {
                    "response": "ProvideCredentials",
                    "username": env["PROXY_USER"],
                    "password": env["PROXY_PASSWORD"],
                }
            self.send("Fetch.continueWithAuth", requestId=request, authChallengeResponse=answer)

    def page(self):
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self.session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        self.call("Fetch.enable", handleAuthRequests=True)

    def visit(self, url):
        if failed := self.call("Page.navigate", url=url).get("errorText"):
            return failed
        while self.run("document.URL + ' ' + document.readyState") != url + " complete":
            time.sleep(0.02)
        return None

    def run(self, script):
        told = self.call("Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True)
        if "exceptionDetails" in told:
            return json.dumps(told["exceptionDetails"])
        return told["result"].get("value")


HEX = "async d => [...new Uint8Array(await crypto.subtle.digest('SHA-256', d))].map(b => b.toString(16).padStart(2, '0')).join('')"
SMALL = "fetch('/small?' + Math.random()).then(async a => a.status + ' ' + await a.text())"
BIG = f"fetch('/big').then(async a => a.status + ' ' + await ({HEX})(await a.arrayBuffer()))"
# What was downloaded is what is uploaded.
UPLOAD = """fetch('/big').then(a => a.blob()).then(body => fetch('/upload', {method: 'POST', body}))
    .then(async a => a.status + ' ' + await a.text())"""


def main(browser):
    browser.page()
    scenario, _, way = env["SCENARIO"].partition("-")
    if scenario in ORIGINS:
        failed = browser.visit(ORIGINS[scenario] + "/small")
        print(failed or "200 " + browser.run("document.body.innerText"))
    elif scenario == "auth":
        browser.credentials = False
        browser.visit(ORIGINS[way] + "/small")
        print("407" if browser.challenges else "not asked for credentials")
        browser.credentials = True
        failed = browser.visit(ORIGINS[way] + "/small")
        print(failed or "200 " + browser.run("document.body.innerText"))
    elif scenario == "keep":
        browser.visit(ORIGINS[way] + "/small")
        for _ in range(5):
            print(browser.run(SMALL))
    else:
        for origin in ORIGINS.values():
            browser.visit(origin + "/small")
            print(browser.run(BIG if scenario == "download" else UPLOAD))


with tempfile.TemporaryDirectory(dir=env["DIR"], ignore_cleanup_errors=True) as profile:
    browser = Browser(profile)
    try:
        main(browser)
        sys.stdout.flush()
        browser.session = None
        browser.send("Browser.close")
        browser.process.wait(10)
    finally:
        browser.process.kill()
