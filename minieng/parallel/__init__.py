"""More than one device: which replica takes a request."""

from .router import ROUTERS, Load, Router, make_router

__all__ = ["ROUTERS", "Load", "Router", "make_router"]
