"""One function a method: (Request, Share) -> Response. No environ, no sockets, no open()."""
