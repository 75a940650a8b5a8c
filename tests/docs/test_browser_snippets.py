"""The docs' snippet for browsers, in one: its connection is cut, and it misses nothing."""

import asyncio
import json
import re
from collections.abc import Coroutine, Iterator
from typing import Any

import pytest
from chromium import Chromium, installed
from snippets import PAGES

from wstransports import Client, Request, Response, WebSocketServer
from wstransports.rooms import Publication, Rooms
from wstransports.testing import Wire

pytestmark = pytest.mark.slow

BLOCK = re.compile(r"^```js\n(.*?)^```$", re.DOTALL | re.MULTILINE)
CODE = [(page.name, code) for page in PAGES for code in BLOCK.findall(page.read_text())]

PAGE = b"""<!doctype html>
<title>News</title>
<ol id="log"></ol>
<script>
const show = text => {
  const line = Object.assign(document.createElement("li"), {textContent: text});
  document.getElementById("log").append(line);
};
const shown = () => [...document.querySelectorAll("#log li")].map(line => line.textContent);

let randomized = 0;
const random = Math.random;
Math.random = () => { randomized += 1; return random(); };
</script>
"""


class News:
    """A server with a room, which its only client joins as the page says."""

    def __init__(self) -> None:
        self.server = WebSocketServer("127.0.0.1", 0, process_request=self._answer)
        self.texts = ["Welcome"]
        """What a client shows that gets each message once, and in order."""
        self._rooms = Rooms(self.server)
        self._rooms.render(self._rendered)
        self._away: asyncio.Event | None = None
        self.server.connection(self._serve)

    async def publish(self, count: int) -> None:
        """Publish so many messages."""
        for _ in range(count):
            self.texts.append(f"Message {len(self.texts)}")
            await self._rooms["news"].publish(self.texts[-1])

    async def fail(self) -> None:
        """Lose the connection in the middle of a message, and refuse the next one."""
        [client] = self.server.clients.values()
        Wire(client).cut(after=100)
        self._away = asyncio.Event()
        await self.publish(20)
        await self._away.wait()
        self._away = None

    def _answer(self, request: Request) -> Response | None:
        if not request.is_upgrade:
            return Response(200, {"Content-Type": "text/html"}, PAGE)
        if self._away is None:
            return None
        self._away.set()
        return Response(503)

    @staticmethod
    def _rendered(publication: Publication) -> str:
        return json.dumps({"text": publication.data, "since": str(publication.position)})

    async def _serve(self, client: Client) -> None:
        since = client.request.query_params.get("since")
        joined = await self._rooms["news"].join(client, since=since)
        if not joined.resumed:
            await client.writer.send_json({"text": "Welcome", "since": str(joined.position)})


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chromium]:
    left_out = "nobody ran the docs' snippet for browsers"
    with installed(tmp_path_factory.mktemp("profile"), left_out) as browser:
        yield browser


def test_it_is_the_only_one() -> None:
    assert [page for page, _ in CODE] == ["rooms.md"]


@pytest.mark.timeout(90)  # a browser takes its time to start
def test_nothing_is_missed_or_shown_twice(browser: Chromium) -> None:
    [(_, code)] = CODE

    async def main() -> None:
        news = News()
        async with news.server:
            await asyncio.to_thread(tried, news, asyncio.get_running_loop())

    def tried(news: News, loop: asyncio.AbstractEventLoop) -> None:
        def do(coroutine: Coroutine[Any, Any, None]) -> None:
            asyncio.run_coroutine_threadsafe(coroutine, loop).result()

        own = f"ws://127.0.0.1:{news.server.port}/"
        here, replaced = re.subn(r"wss://[\w.]+/", own, code)
        assert replaced == 1
        window = browser.open(own.replace("ws", "http"))
        window.evaluate(here)
        window.wait_until("shown().length === 1")
        for _ in range(2):
            do(news.publish(20))
            do(news.fail())
            do(news.publish(20))
            window.wait_until(f"shown().length >= {len(news.texts)}")
            assert window.evaluate("shown()") == news.texts
        assert window.evaluate("randomized") >= 4  # a random wait before each attempt
        window.close()

    asyncio.run(main())
