"""Python's requests."""
import hashlib
import os

import requests

env = os.environ
SMALL = {"forward": env["HTTP"], "connect": env["HTTPS"]}


def session(credentials=True):
    user = f"{env['PROXY_USER']}:{env['PROXY_PASSWORD']}@" if credentials else ""
    made = requests.Session()
    made.trust_env = False
    made.proxies = {scheme: f"http://{user}{env['PROXY']}" for scheme in ("http", "https")}
    made.verify = env["CA"]
    return made


def small(client, origin):
    answer = client.get(origin + "/small", timeout=120)
    print(answer.status_code, answer.text if answer.ok else "")


def refused(origin):
    try:
        print(session(False).get(origin + "/small", timeout=120).status_code)
    except requests.exceptions.ProxyError as error:
        print("407" if "407" in str(error) else error)


scenario, _, way = env["SCENARIO"].partition("-")
if scenario in SMALL:
    small(session(), SMALL[scenario])
elif scenario == "auth":
    refused(SMALL[way])
    small(session(), SMALL[way])
elif scenario == "keep":
    client = session()
    for _ in range(5):
        small(client, SMALL[way])
elif scenario == "download":
    for origin in SMALL.values():
        with session().get(origin + "/big", stream=True, timeout=120) as answer:
            digest = hashlib.sha256()
            for part in answer.iter_content(65536):
                digest.update(part)
            print(answer.status_code, digest.hexdigest())
elif scenario == "upload":
    for origin in SMALL.values():
        with open(env["FILE"], "rb") as file:
            answer = session().post(origin + "/upload", data=file, timeout=120)
        print(answer.status_code, answer.text)
