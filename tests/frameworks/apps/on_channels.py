"""An echo on Channels, which is Django's."""

import django
from channels.generic.websocket import AsyncWebsocketConsumer
from channels.routing import ProtocolTypeRouter, URLRouter
from django.conf import settings
from django.urls import path

settings.configure(INSTALLED_APPS=["channels"])
django.setup()


class Echo(AsyncWebsocketConsumer):
    async def receive(self, text_data: str | None = None, bytes_data: bytes | None = None) -> None:
        await self.send(text_data, bytes_data)


app = ProtocolTypeRouter({"websocket": URLRouter([path("echo", Echo.as_asgi())])})
