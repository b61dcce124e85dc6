"""The proxy on the way to a server at a URL, by the variables that curl reads too.

HTTPS_PROXY or HTTP_PROXY by the scheme of the URL, else ALL_PROXY; NO_PROXY says where none is
used, and what is on this machine is never asked for through one.
"""

import http.client
from base64 import b64encode
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from ipaddress import ip_address
from typing import Any
from urllib.parse import SplitResult, unquote, urlsplit

from tulu_cli.errors import UsageError


@dataclass(frozen=True, slots=True)
class Proxy:
    """Where a proxy listens, and the headers by which it knows us."""

    host: str
    port: int
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)

    def __str__(self) -> str:
        return f"http://{self.host}:{self.port}"


class ProxiedConnection(http.client.HTTPConnection):
    """HTTP through a proxy, which is told the whole URL and passes the request on."""

    def __init__(self, url: SplitResult, proxy: Proxy, timeout: float) -> None:
        super().__init__(proxy.host, proxy.port, timeout=timeout)
        self._origin = f"{url.scheme}://{url.netloc}"
        self._known_by = proxy.headers

    def request(
        self,
        method: str,
        url: str,
        body: Any = None,
        headers: Mapping[str, Any] = {},
        *,
        encode_chunked: bool = False,
    ) -> None:
        """Send a request for a path of the server's."""
        headers = {**headers, **self._known_by}
        super().request(method, self._origin + url, body, headers, encode_chunked=encode_chunked)


def connection_to(
    url: SplitResult, proxy: Proxy | None, timeout: float
) -> http.client.HTTPConnection:
    """A connection that is not open yet. Raises KeyError for a scheme that is none of HTTP's."""
    host, port = url.hostname or "", url.port
    if proxy is None:
        kinds = {"http": http.client.HTTPConnection, "https": http.client.HTTPSConnection}
        return kinds[url.scheme](host, port, timeout=timeout)
    if url.scheme == "http":
        return ProxiedConnection(url, proxy, timeout)
    # The proxy sees where it goes and no more: the key and the prompt are encrypted inside.
    tunnel = http.client.HTTPSConnection(proxy.host, proxy.port, timeout=timeout)
    tunnel.set_tunnel(host, port or http.client.HTTPS_PORT, dict(proxy.headers))
    return tunnel


def proxy_for(url: SplitResult) -> Proxy | None:
    """The proxy for a URL, None where it is reached without. Raises UsageError for a bad one."""
    from urllib.request import getproxies, proxy_bypass

    host = url.hostname or ""
    proxies = getproxies()
    told = proxies.get(url.scheme) or proxies.get("all")
    place = host if url.port is None else f"{host}:{url.port}"
    if not told or _is_here(host) or proxy_bypass(place):
        return None
    try:
        found = urlsplit(told if "://" in told else f"http://{told}")
        if found.scheme == "http" and found.hostname:
            return Proxy(found.hostname, found.port or http.client.HTTP_PORT, _known_by(found))
    except ValueError:
        pass
    raise UsageError(
        f"The proxy that the environment names for {host} cannot be used: --server takes one of "
        f"the form http://HOST:PORT. NO_PROXY={host} goes around it."
    )


def _known_by(proxy: SplitResult) -> dict[str, str]:
    if proxy.username is None:
        return {}
    pair: Iterable[str] = (unquote(part or "") for part in (proxy.username, proxy.password))
    return {"Proxy-Authorization": f"Basic {b64encode(':'.join(pair).encode()).decode()}"}


def _is_here(host: str) -> bool:
    """Whether a host is this machine, by its name or address."""
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False
