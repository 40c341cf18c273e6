"""Python's httpx."""
import hashlib
import inspect
import os
import ssl

import httpx

env = os.environ
SMALL = {"forward": env["HTTP"], "connect": env["HTTPS"]}


def session(credentials=True):
    user = f"{env['PROXY_USER']}:{env['PROXY_PASSWORD']}@" if credentials else ""
    # The parameter has had two names.
    known = inspect.signature(httpx.Client).parameters
    proxy = {"proxy" if "proxy" in known else "proxies": f"http://{user}{env['PROXY']}"}
    trust = ssl.create_default_context(cafile=env["CA"])
    return httpx.Client(verify=trust, trust_env=False, timeout=120, **proxy)


def small(client, origin):
    answer = client.get(origin + "/small")
    print(answer.status_code, answer.text if answer.is_success else "")


def refused(origin):
    try:
        print(session(False).get(origin + "/small").status_code)
    except httpx.ProxyError as error:
        print("407" if "407" in str(error) else error)


def parts(path):
    with open(path, "rb") as file:
        while part := file.read(65536):
            yield part


scenario, _, way = env["SCENARIO"].partition("-")
if scenario in SMALL:
    small(session(), SMALL[scenario])
elif scenario == "auth":
    refused(SMALL[way])
    small(session(), SMALL[way])
elif scenario == "keep":
    with session() as client:
        for _ in range(5):
            small(client, SMALL[way])
elif scenario == "download":
    for origin in SMALL.values():
        with session().stream("GET", origin + "/big") as answer:
            digest = hashlib.sha256()
            for part in answer.iter_bytes():
                digest.update(part)
            print(answer.status_code, digest.hexdigest())
elif scenario == "upload":
    for origin in SMALL.values():
        # Without a length: in chunks.
        answer = session().post(origin + "/upload", content=parts(env["FILE"]))
        print(answer.status_code, answer.text)
