"""The only place that knows WSGI, WsgiDAV or cheroot."""
