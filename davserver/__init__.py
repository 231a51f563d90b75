"""davserver: a WebDAV file server whose locks never lie."""

__version__ = "0.1.0"
