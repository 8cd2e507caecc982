"""URLs as they may be shown: cut where a URL has its parts, whatever stands in them.

User info, query and fragment may be secret, and how somebody quotes them is no matter of ours: libraries quote a URL anew, and
`?k=S3^X` comes back as `?k=S3%5EX`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from urllib.parse import quote, unquote

_HIDDEN = "…"
_MOST_CHARS = 500
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]{0,30}://")
_HOST = re.compile(r"(?:[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.%]+\])(?::[0-9]{0,5})?")
# How much of what is not a letter different libraries leave as it is: all, requests, urllib3's path and query, none.
_LEFT_ALONE = ("!#$%&'()*+,/:;=?@[]~", "!$&'()*+,;=:@/?", "%", "")


def cut_url(url: str) -> str:
    """A URL without what may be secret in it: user info, query and fragment."""
    scheme, rest = _split_scheme(url)
    shown, query, _ = _parts(rest)
    shown = shown if len(shown) <= _MOST_CHARS else f"{shown[:_MOST_CHARS]}…"
    return f"{scheme}{shown}{'?' + _HIDDEN if query.startswith('?') and len(query) > 1 else ''}"


def secret_parts(rest: str) -> Iterator[tuple[int, int]]:
    """Where in what stands behind a URL's `://` something may be secret: offsets of the user info, query and fragment."""
    shown, query, _ = _parts(rest)
    before = len(rest) - len(shown) - len(query)
    if before > 1:
        yield 0, before - 1
    if len(query) > 1:
        yield len(rest) - len(query) + 1, len(rest)


def cut_argument(argument: str) -> str:
    """An argument of a command line: as it is, but for a URL that it is or, as in `--image-url=https://…`, ends with."""
    found = _SCHEME.search(argument)
    return argument[: found.start()] + cut_url(argument[found.start() :]) if found else argument


def cut_urls(text: str) -> str:
    """A text of a library's, in which URLs and parts of them stand among other words."""
    text = re.sub(r"[A-Za-z][A-Za-z0-9+.-]{0,30}://[^\s'\"<>]++", lambda found: cut_url(found[0]), text)
    return re.sub(r"(\burl: [^\s?]*+\?)\S++", rf"\1{_HIDDEN}", text)


def without_secrets_of(text: str, url: str) -> str:
    """A text that may quote a URL, or any part of it, without what is secret there, however it is quoted."""
    for secret in sorted(set(_spellings(url)), key=len, reverse=True):
        text = text.replace(secret, _HIDDEN)
    return text


def _spellings(url: str) -> Iterator[str]:
    """Each secret part of a URL, and what a `name=value` of its query has as its value, as libraries may write it."""
    _, rest = _split_scheme(url)
    _, query, user = _parts(rest)
    values = (pair.partition("=")[2] for pair in re.split("[&;#]", query[1:]))
    for secret in (query[1:], *values, query.partition("#")[2], user, *user.split(":", 1)):
        for way in (secret, unquote(secret)):
            yield from (found for safe in _LEFT_ALONE if len(found := quote(way, safe=safe)) > 1)
            if len(way) > 1:
                yield way


def _split_scheme(url: str) -> tuple[str, str]:
    found = _SCHEME.match(url.lstrip())
    return (found[0], url.lstrip()[found.end() :]) if found else ("", url)


def _parts(rest: str) -> tuple[str, str, str]:
    """Of what stands behind the scheme: what may be shown, the query and fragment, and the user info."""
    user, at, behind = rest.rpartition("@")
    if at and not _HOST.fullmatch(_authority(rest).rpartition("@")[2]):
        # Where the host ends is not clear, as with `me:pa/ss@host`: what stands before the last "@" may all be meant for one.
        rest = behind
    else:
        authority = _authority(rest)
        user, _, host = authority.rpartition("@")
        rest = host + rest[len(authority) :]
    end = min((found for mark in "?#" if (found := rest.find(mark)) >= 0), default=len(rest))
    return rest[:end], rest[end:], user


def _authority(rest: str) -> str:
    return re.split(r"[/?#\\]", rest, maxsplit=1)[0]
