"""A browser without a screen: it reads a page as people do, and submits its form."""

from html.parser import HTMLParser
from typing import Self

import httpx


class Page(HTMLParser):
    """What a page says and what its form would send."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.text = ""
        self.alert = ""
        self.choices: list[str] = []
        self.links: list[str] = []
        self.fields: dict[str, str] = {}
        self._in_alert = False
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = {name: value or "" for name, value in attrs}
        self._in_alert = found.get("role") == "alert"
        if tag == "a":
            self.links.append(found["href"])
        if tag == "input" and found["type"] == "radio":
            self.choices.append(found["value"])
        if tag == "input" and ("checked" in found or found["type"] != "radio"):
            self.fields[found["name"]] = found.get("value", "")

    def handle_data(self, data: str) -> None:
        self.text += data
        if self._in_alert:
            self.alert += data

    def handle_endtag(self, _tag: str) -> None:
        self._in_alert = False


class Browser:
    """Follows redirects within the stand-in; `location` is where it ended."""

    def __init__(self, url: str) -> None:
        self._http = httpx.Client(timeout=10.0)
        self._home = url
        self.location = ""
        self.go(url)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._http.close()

    def go(self, url: str) -> None:
        self._seen(self._http.get(url))

    def submit(self, **changed: str) -> None:
        self._seen(self._http.post(self.location, data={**self.page.fields, **changed}))

    def _seen(self, answer: httpx.Response) -> None:
        while answer.is_redirect:
            self.location = answer.headers["location"]
            if not self.location.startswith(str(httpx.URL(self._home).copy_with(path="/"))):
                return
            answer = self._http.get(self.location)
        self.location = str(answer.url)
        self.policy = answer.headers["content-security-policy"]
        self.page = Page(answer.text)
