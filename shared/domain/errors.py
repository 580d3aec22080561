"""What can be wrong with a request, as the domain sees it. Each message says what to do next."""


class PaygError(Exception):
    """Root of all errors that are meant for people."""


class InvalidAmountError(PaygError, ValueError):
    """A text that should be money, a rate or a percentage is not."""


class NotFoundError(PaygError, LookupError):
    """The thing named does not exist."""


class RefusedError(PaygError):
    """The request is understood, and the state of the books or of a setting forbids it."""


class MalformedError(PaygError, ValueError):
    """A usage event is not one: what is wrong is in the message."""


class PriceNotSupportedError(PaygError):
    """The model is known, but its price cannot be expressed as nanos per million tokens."""
