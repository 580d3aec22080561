"""An OpenAI-compatible gateway that payg bills, in front of a toy model server or a real one."""

from sandbox.gateway.forwarding import create_gateway
from sandbox.gateway.model_server import create_model_server
from sandbox.gateway.served import served

__all__ = ["create_gateway", "create_model_server", "served"]
