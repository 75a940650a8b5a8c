"""A folder of files for browsers, on the port of a WebSocket."""

from mimetypes import guess_type
from pathlib import Path
from urllib.parse import unquote

from wscore import Request, Response

# A response is held in memory as a whole.
MOST = 2**26


class Folder:
    """Answers ordinary requests with the files of a folder, as `process_request`.

    Only regular files in the folder are served: no hidden ones, and none that a link or ".." leads
    to outside of it. Raises NotADirectoryError for anything but a folder.
    """

    def __init__(self, path: str) -> None:
        self._root = Path(path).resolve()
        if not self._root.is_dir():
            raise NotADirectoryError(f"{path} is not a folder")

    def respond(self, request: Request) -> Response | None:
        """The file that a request asks for; None for a WebSocket."""
        if request.is_upgrade:
            return None
        file = self._find(unquote(request.path))
        if file is None:
            return _refusal(404, "There is no such file here.")
        try:
            with file.open("rb") as opened:
                content = opened.read(MOST + 1)
        except OSError:
            return _refusal(403, "This file cannot be read.")
        if len(content) > MOST:
            return _refusal(403, f"This file is longer than {MOST} bytes.")
        kind, encoding = guess_type(file.name)
        if kind is None or encoding is not None:
            kind = "application/octet-stream"
        charset = "; charset=utf-8" if kind.startswith("text/") else ""
        # The folder is someone's work in progress: a reload shows what is there now.
        headers = {"Content-Type": kind + charset, "Cache-Control": "no-store"}
        return Response(200, {**headers, "X-Content-Type-Options": "nosniff"}, content)

    def _find(self, path: str) -> Path | None:
        """The file at a path, the index.html of a folder; None where there is none to serve."""
        parts = path.strip("/").split("/")
        if any(part.startswith(".") for part in parts):
            return None
        try:
            file = self._root.joinpath(*parts).resolve()
            if file.is_dir():
                file = (file / "index.html").resolve()
            inside = file.is_relative_to(self._root) and file.is_file()
        # A name that is too long, or has a null; before Python 3.13 also a loop of links.
        except (OSError, ValueError, RuntimeError):
            return None
        return file if inside else None


def _refusal(status: int, text: str) -> Response:
    return Response(status, {"Content-Type": "text/plain; charset=utf-8"}, text + "\n")
