"""What stands in a mail: a template as plain text and as HTML."""

from collections.abc import Mapping
from email.message import EmailMessage
from functools import cache
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape


def set_bodies(mail: EmailMessage, template: str, shown: Mapping[str, Any]) -> None:
    """Give a mail both of its bodies, from ``<template>.txt`` and ``<template>.html``."""
    mail.set_content(_templates().get_template(f"{template}.txt").render(shown))
    mail.add_alternative(_templates().get_template(f"{template}.html").render(shown), subtype="html")


@cache
def _templates() -> Environment:
    return Environment(
        loader=PackageLoader("shared.documents"),
        autoescape=select_autoescape(["html"]),
        undefined=StrictUndefined,
        keep_trailing_newline=True,
    )
