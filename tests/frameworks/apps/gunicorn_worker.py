"""A worker of gunicorn that is uvicorn with our class."""

from uvicorn_worker import UvicornWorker


class Worker(UvicornWorker):
    CONFIG_KWARGS = {**UvicornWorker.CONFIG_KWARGS, "ws": "wstransports.uvicorn:WebSocketProtocol"}
