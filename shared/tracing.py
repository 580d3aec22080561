"""Traces over the stages, by OpenTelemetry: off, and of no cost, without ``PAYG_TRACES_URL``.

A batch is one span at each stage. It continues the trace of the message that it came with, and links to those
of the others that were merged into it. What travels is the W3C header ``traceparent``.
Source: https://www.w3.org/TR/trace-context/
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from shared.domain.errors import PaygError

if TYPE_CHECKING:
    from opentelemetry.context import Context
    from opentelemetry.sdk.trace import SpanProcessor
    from opentelemetry.trace import Link, SpanContext, Tracer


class TracingError(PaygError):
    """Traces are wanted, and what sends them is not installed."""


class _Tracing:
    def __init__(self) -> None:
        self.tracer: Tracer | None = None


_tracing = _Tracing()


def trace_to(url: str, service: str) -> None:
    """Send traces by OTLP over HTTP to that address from now on. Raises TracingError without the extra."""
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter  # noqa: PLC0415
        from opentelemetry.sdk.trace.export import BatchSpanProcessor  # noqa: PLC0415
    except ImportError:
        raise TracingError("PAYG_TRACES_URL needs the extra: .venv/bin/pip install -e '.[traces]'") from None
    process_spans_with(BatchSpanProcessor(OTLPSpanExporter(endpoint=url)), service)


def process_spans_with(processor: SpanProcessor, service: str) -> None:
    """Give every span that ends from now on to a processor."""
    from opentelemetry.sdk.resources import Resource  # noqa: PLC0415 - an extra
    from opentelemetry.sdk.trace import TracerProvider  # noqa: PLC0415

    provider = TracerProvider(resource=Resource.create({"service.name": service}))
    provider.add_span_processor(processor)
    _tracing.tracer = provider.get_tracer("payg")


def stop_tracing() -> None:
    """Make no more spans."""
    _tracing.tracer = None


@contextmanager
def span(name: str, parents: Sequence[str], records: int) -> Iterator[str | None]:
    """Yield the ``traceparent`` of a new span, None while traces are off."""
    if _tracing.tracer is None:
        yield None
        return
    from opentelemetry.trace import SpanKind  # noqa: PLC0415 - an extra

    first, links = _contexts(parents)
    with _tracing.tracer.start_as_current_span(
        name, first, kind=SpanKind.CONSUMER, links=links, attributes={"payg.records": records}
    ) as current:
        yield _traceparent(current.get_span_context())


def current_traceparent() -> str | None:
    """Return the ``traceparent`` of the span that this runs in, None without one."""
    if _tracing.tracer is None:
        return None
    from opentelemetry.trace import get_current_span  # noqa: PLC0415 - an extra

    context = get_current_span().get_span_context()
    return _traceparent(context) if context.is_valid else None


def _contexts(parents: Sequence[str]) -> tuple[Context | None, list[Link]]:
    from opentelemetry.trace import Link, get_current_span  # noqa: PLC0415 - an extra
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator  # noqa: PLC0415

    # In the order they came, each once: a batch that was taken apart has one trace.
    contexts = [
        TraceContextTextMapPropagator().extract({"traceparent": each}) for each in dict.fromkeys(parents)
    ]
    links = [Link(get_current_span(context).get_span_context()) for context in contexts[1:]]
    return (contexts[0] if contexts else None), links


def _traceparent(context: SpanContext) -> str:
    return f"00-{context.trace_id:032x}-{context.span_id:016x}-{context.trace_flags:02x}"
