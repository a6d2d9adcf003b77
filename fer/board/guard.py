"""Who may see the board, and what its pages may do: checked before anything is looked at."""

import ipaddress
import secrets
import socket
from collections.abc import Awaitable, Callable, MutableMapping
from http.cookies import CookieError, SimpleCookie
from typing import Any
from urllib.parse import SplitResult, parse_qsl, urlencode, urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse, RedirectResponse

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; connect-src 'self'; "
    "media-src blob:; frame-src 'self'; form-action 'self'; frame-ancestors 'self'; base-uri 'none'"
)
REPORT_POLICY = POLICY.replace("style-src 'self'", "style-src 'self' 'unsafe-inline'")
"""That of a report, which has its style sheet in itself."""
HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(self), microphone=(), geolocation=()",
    "Cache-Control": "no-store",
}


def is_local(host: str) -> bool:
    """Whether an address to listen at is reached from this machine alone."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


class Guard:
    """Lets through requests whose Host is the board's own, and where there is a `token` those that know it.

    The token of the URL is kept in a cookie, and taken out of the address by a redirect. A request that changes
    anything, or uploads, must come from the board's own pages.
    """

    def __init__(self, app: App, host: str, token: str | None):
        self._app, self._host, self._token = app, host, token

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def answer(message: MutableMapping[str, Any]) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in {"Content-Security-Policy": POLICY, **HEADERS}.items():
                    headers.setdefault(name, value)
            await send(message)

        refusal = self._refusal(scope)
        await (refusal or self._app)(scope, receive, answer)

    def _refusal(self, scope: Scope) -> App | None:
        headers = Headers(scope=scope)
        name = _host_name(headers.get("host", ""))
        if not self._is_ours(name):
            return PlainTextResponse(f"{name[:200]!r} is not this board's host", 421)
        origin = headers.get("origin")
        if origin is not None and _split(origin).netloc != headers["host"]:
            return PlainTextResponse("asked for by a page of another site", 403)
        if self._token is None or self._knows_token(scope, headers.get("cookie", "")):
            return None
        query = parse_qsl(scope["query_string"].decode("latin-1"), keep_blank_values=True)
        given = dict(query).get("token", "")
        if not secrets.compare_digest(given.encode(), self._token.encode()):
            return PlainTextResponse("the board wants the token that fer board printed with its address\n", 401)
        rest = urlencode([pair for pair in query if pair[0] != "token"])
        path = "/" + scope["path"].lstrip("/")  # "//elsewhere" is another host's
        response = RedirectResponse(path + f"?{rest}" * bool(rest), 303)
        response.set_cookie(_cookie(scope), self._token, httponly=True, samesite="strict")
        return response

    def _is_ours(self, name: str) -> bool:
        """A name that another site's would be led here by (DNS rebinding) is none; an address cannot be."""
        if is_local(name) or name == self._host:
            return True
        if is_local(self._host):
            return False
        try:
            ipaddress.ip_address(name)
        except ValueError:
            return name in (socket.gethostname().lower(), socket.getfqdn().lower())
        return True

    def _knows_token(self, scope: Scope, cookie: str) -> bool:
        try:
            known = SimpleCookie(cookie).get(_cookie(scope))
        except CookieError:
            return False
        return known is not None and secrets.compare_digest(known.value.encode(), (self._token or "").encode())


def _cookie(scope: Scope) -> str:
    """The cookie's name: boards at several ports of a host share their cookies."""
    return f"fer_board_{(scope.get('server') or ('', 0))[1]}"


def _host_name(host: str) -> str:
    """A Host header's name without its port and brackets, in small letters."""
    return (_split(f"//{host}").hostname or "").lower()


def _split(url: str) -> SplitResult:
    """The parts of what a header gives, empty where it is no URL."""
    try:
        return urlsplit(url)
    except ValueError:
        return urlsplit("")
