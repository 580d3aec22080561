"""What goes wrong with a server of the sandbox."""


class ServerError(Exception):
    """A server cannot be started or used; the message says why and ends with what its log says."""
