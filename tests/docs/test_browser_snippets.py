"""The docs' snippets for browsers, in one: their connection is cut, and they miss nothing."""

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

# The pages, and what starts their snippets.
STARTED = {"rooms.md": "", "scaling.md": "follow(show);"}

PAGE = b"""<!doctype html>
<title>News</title>
<ol id="log"></ol>
<script>
const show = text => {
  const line = Object.assign(document.createElement("li"), {textContent: text});
  document.getElementById("log").append(line);
};
const shown = () => [...document.querySelectorAll("#log li")].map(line => line.textContent);

let drawn = 0;
const random = Math.random;
Math.random = () => { drawn += 1; return random(); };
</script>
"""


class News:
    """A server with a room, which its only client joins as the pages say."""

    def __init__(self, since_is_sent: bool) -> None:
        self.server = WebSocketServer("127.0.0.1", 0, process_request=self._answer)
        self.texts = ["Welcome"]
        """What a client shows that gets each message once, and in order."""
        self._since_is_sent = since_is_sent
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
        since: str | None = client.request.query_params.get("since")
        if self._since_is_sent:
            since = await client.receive(str)
        joined = await self._rooms["news"].join(client, since=since)
        if not joined.resumed:
            await client.writer.send_json({"text": "Welcome", "since": str(joined.position)})


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chromium]:
    left_out = "nobody ran the docs' snippets for browsers"
    with installed(tmp_path_factory.mktemp("profile"), left_out) as browser:
        yield browser


def test_every_snippet_is_tried() -> None:
    assert [page for page, _ in CODE] == [*STARTED]


@pytest.mark.timeout(90)  # a browser takes its time to start
@pytest.mark.parametrize(("page", "code"), CODE, ids=STARTED)
def test_nothing_is_missed_or_shown_twice(page: str, code: str, browser: Chromium) -> None:
    async def main() -> None:
        news = News(since_is_sent="socket.send(since)" in code)
        async with news.server:
            await asyncio.to_thread(tried, news, asyncio.get_running_loop())

    def tried(news: News, loop: asyncio.AbstractEventLoop) -> None:
        def do(coroutine: Coroutine[Any, Any, None]) -> None:
            asyncio.run_coroutine_threadsafe(coroutine, loop).result()

        own = f"ws://127.0.0.1:{news.server.port}/"
        here, replaced = re.subn(r"wss://[\w.]+/", own, code)
        assert replaced == 1
        window = browser.open(own.replace("ws", "http"))
        window.evaluate(here + STARTED[page])
        window.wait_until("shown().length === 1")
        for _ in range(2):
            do(news.publish(20))
            do(news.fail())
            do(news.publish(20))
            window.wait_until(f"shown().length >= {len(news.texts)}")
            assert window.evaluate("shown()") == news.texts
        assert window.evaluate("drawn") >= 4  # a random wait before each attempt
        window.close()

    asyncio.run(main())
