"""HTTP: from sockets to the WSGI application and back, on cheroot."""
