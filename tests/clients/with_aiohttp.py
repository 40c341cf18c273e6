"""Python's aiohttp."""
import asyncio
import hashlib
import os
import ssl

import aiohttp

env = os.environ
SMALL = {"forward": env["HTTP"], "connect": env["HTTPS"]}
TRUST = ssl.create_default_context(cafile=env["CA"])


def session():
    return aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=120))


def through(credentials=True):
    known = {"proxy": f"http://{env['PROXY']}", "ssl": TRUST}
    if credentials:
        known["proxy_auth"] = aiohttp.BasicAuth(env["PROXY_USER"], env["PROXY_PASSWORD"])
    return known


async def small(client, origin):
    async with client.get(origin + "/small", **through()) as answer:
        print(answer.status, await answer.text() if answer.ok else "")


async def refused(client, origin):
    try:
        async with client.get(origin + "/small", **through(False)) as answer:
            print(answer.status)
    except aiohttp.ClientHttpProxyError as error:
        print(error.status)


async def main():
    scenario, _, way = env["SCENARIO"].partition("-")
    async with session() as client:
        if scenario in SMALL:
            await small(client, SMALL[scenario])
        elif scenario == "auth":
            await refused(client, SMALL[way])
            await small(client, SMALL[way])
        elif scenario == "keep":
            for _ in range(5):
                await small(client, SMALL[way])
        elif scenario == "download":
            for origin in SMALL.values():
                async with client.get(origin + "/big", **through()) as answer:
                    digest = hashlib.sha256()
                    async for part in answer.content.iter_chunked(65536):
                        digest.update(part)
                    print(answer.status, digest.hexdigest())
        elif scenario == "upload":
            for origin in SMALL.values():
                with open(env["FILE"], "rb") as file:
                    async with client.post(origin + "/upload", data=file, **through()) as answer:
                        print(answer.status, await answer.text())


asyncio.run(main())
