"""The browser of the audit's tests serves this page's as well."""

from tests.audit.conftest import browser

__all__ = ["browser"]
