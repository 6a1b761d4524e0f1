"""Middleware in place of a package's own."""

from csp.constants import HEADER
from csp.middleware import CSPMiddleware


class Policy(CSPMiddleware):
    """Writes none for an answer that has its own: it takes as long as a look into the database."""

    def process_response(self, request, response):
        return response if HEADER in response else super().process_response(request, response)
