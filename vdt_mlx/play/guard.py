"""Who may talk to the playground: a page of its own on this machine, and nobody else.

A web site that a user visits may send requests to addresses on the user's machine, and with a trick of names (DNS
rebinding) may even read the answers. So a request must name a host that this server has, come from its own page, stay
below a size that is checked before anything is decoded, and on an open network know the token.
"""

import hmac
from typing import Any

from starlette.datastructures import Headers
from starlette.responses import JSONResponse, Response

MAX_JSON = 1 << 20
MAX_VIDEO = 32 << 20
HEADERS = {
    "Content-Security-Policy": "default-src 'self'; img-src 'self' data: blob:; object-src 'none'; base-uri 'none'; "
    "frame-ancestors 'none'; form-action 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}


class TooLarge(Exception):
    """More bytes than were allowed."""


class Guard:
    """ASGI middleware. `hosts`: the names with port that requests may use; `token`: asked for where it is set."""

    def __init__(self, app: Any, hosts: set[str] | None, token: str | None = None) -> None:
        self.app, self.hosts, self.token = app, hosts, token

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            if scope["type"] == "lifespan":
                await self.app(scope, receive, send)
            return
        refusal = self._refusal(scope)
        if refusal is not None:
            await refusal(scope, receive, send)
            return
        limit = MAX_VIDEO if scope["path"] == "/api/video" else MAX_JSON
        seen, begun = 0, False

        async def limited() -> Any:
            nonlocal seen
            message = await receive()
            seen += len(message.get("body", b""))
            if seen > limit:
                raise TooLarge
            return message

        async def answered(message: Any) -> None:
            nonlocal begun
            if message["type"] == "http.response.start":
                begun = True
                kept = [(k.lower().encode(), v.encode()) for k, v in HEADERS.items()]
                message["headers"] = [*message.get("headers", []), *kept]
            await send(message)

        try:
            await self.app(scope, limited, answered)
        except TooLarge:
            if not begun:
                await _no(413, f"That is more than {limit >> 20} MB.")(scope, receive, send)

    def _refusal(self, scope: Any) -> Response | None:
        headers = Headers(scope=scope)
        host = headers.get("host", "").lower()
        if self.hosts is not None and host not in self.hosts:
            return _no(421, "This address is not the playground's: open the one that it printed.")
        origin = headers.get("origin")
        if origin is not None and origin.lower() not in (f"http://{host}", f"https://{host}"):
            return _no(403, "Only the playground's own page may talk to it.")
        if headers.get("sec-fetch-site") in ("cross-site", "same-site") and scope["path"].startswith("/api/"):
            return _no(403, "Only the playground's own page may talk to it.")
        if self.token is not None and not self._knows(scope, headers):
            return _no(401, "Open the address with the token that the playground printed.")
        length = headers.get("content-length", "0")
        limit = MAX_VIDEO if scope["path"] == "/api/video" else MAX_JSON
        if not length.isdigit() or int(length) > limit:
            return _no(413, f"That is more than {limit >> 20} MB.")
        return None

    def _knows(self, scope: Any, headers: Headers) -> bool:
        """The token comes as a header from the page's scripts and in the address of the page itself."""
        if scope["path"].startswith("/static/"):
            return True  # the page's own program and looks hold nothing to protect
        given = headers.get("x-token") or dict(
            pair.split("=", 1) for pair in scope["query_string"].decode("latin-1").split("&") if "=" in pair
        ).get("token", "")
        return hmac.compare_digest(given.encode(), (self.token or "").encode())


def _no(status: int, sentence: str) -> Response:
    return JSONResponse({"error": sentence}, status, headers={**HEADERS, "Connection": "close"})
