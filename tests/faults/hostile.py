"""What a stranger might send: requests, each with a name, that must be refused or at least do nothing.

`REFUSED` must end in a refusal (4xx, 501, 505, 507) or a closed connection; `HARMLESS` may also be answered as if the
odd part were not there, as the RFCs have it for many fields. Each request is whole, or as whole as it will get.
"""
# ruff: noqa: E501  # a corpus reads better in long lines

from __future__ import annotations

import base64


def head(method: str, target: str, *fields: str, version: str = "1.1") -> bytes:
    return "\r\n".join([f"{method} {target} HTTP/{version}", "Host: x", *fields, "", ""]).encode("latin-1")


def with_body(method: str, target: str, body: bytes, *fields: str) -> bytes:
    return head(method, target, *fields, f"Content-Length: {len(body)}") + body


def chunked(body: str, *fields: str) -> bytes:
    return head("PUT", "/hostile", "Transfer-Encoding: chunked", *fields) + body.encode("latin-1")


REFUSED: dict[str, bytes] = {}
HARMLESS: dict[str, bytes] = {}

# --- framing (RFC 9112 §6, §7, §11)

_CODINGS = (
    "chunked, chunked", "gzip, chunked", "identity", "xchunked", "chunked;q=1", "\tchunked\x0b", "chunked\x00", '"chunked"',
    "CHUNKED, identity", "deflate", "chunked, gzip", ", chunked,gzip", "chunked identity",
)  # fmt: skip
for coding in _CODINGS:
    REFUSED[f"transfer-encoding {coding!r}"] = head("PUT", "/hostile", f"Transfer-Encoding: {coding}") + b"0\r\n\r\n"
for length in ("-1", "+5", "0x5", "5 5", "5,6", "5;6", "", " ", "five", "5.0", "1e3", "\u0663".encode().decode("latin-1"),
               "9" * 30, "18446744073709551616", "5\t5", "5_0", "'5'"):  # fmt: skip
    REFUSED[f"content-length {length!r}"] = head("PUT", "/hostile", f"Content-Length: {length}") + b"hello"
for one, two in (("5", "6"), ("6", "5"), ("0", "5"), ("5", "+5")):
    REFUSED[f"lengths {one} and {two}"] = (
        head("PUT", "/hostile", f"Content-Length: {one}", f"Content-Length: {two}") + b"hello"
    )
REFUSED["length and chunked"] = (
    head("PUT", "/hostile", "Content-Length: 5", "Transfer-Encoding: chunked") + b"0\r\n\r\n"
)
REFUSED["chunked and length"] = (
    head("PUT", "/hostile", "Transfer-Encoding: chunked", "Content-Length: 5") + b"0\r\n\r\n"
)
REFUSED["chunked twice"] = (
    head("PUT", "/hostile", "Transfer-Encoding: chunked", "Transfer-Encoding: chunked") + b"0\r\n\r\n"
)
REFUSED["chunked in 1.0"] = head("PUT", "/hostile", "Transfer-Encoding: chunked", version="1.0") + b"0\r\n\r\n"
for number, body in enumerate((
    "5\r\nhelloX\r\n0\r\n\r\n", "5\nhello\r\n0\r\n\r\n", "5\r\nhello\n0\r\n\r\n", "0x5\r\nhello\r\n0\r\n\r\n",
    "+5\r\nhello\r\n0\r\n\r\n", "-5\r\nhello\r\n0\r\n\r\n", "g\r\nhello\r\n0\r\n\r\n", "\r\nhello\r\n0\r\n\r\n",
    "5 5\r\nhello\r\n0\r\n\r\n", "ffffffffffffffffff\r\nhello", "7fffffffffffffff\r\nhello", "5;a\nb\r\nhello\r\n0\r\n\r\n",
    "5;" + "x" * 100_000 + "\r\nhello\r\n0\r\n\r\n", "0\r\nX: y\n\r\n", "0\r\n" + "X: y\r\n" * 20_000 + "\r\n",
    "0\r\nX\r\n\r\n", "0\r\n: y\r\n\r\n", "0\r\nContent-Length : 5\r\n\r\n",
)):  # fmt: skip
    REFUSED[f"chunk {number}"] = chunked(body)

# --- the head (RFC 9112 §2-§5)

for name, sent in {
    "bare LF": b"GET / HTTP/1.1\nHost: x\n\n",
    "bare CR": b"GET / HTTP/1.1\rHost: x\r\r",
    "LF in a field": b"GET / HTTP/1.1\r\nHost: x\nX: y\r\n\r\n",
    "obs-fold": b"GET / HTTP/1.1\r\nHost: x\r\nX: y\r\n z\r\n\r\n",
    "fold first": b"GET / HTTP/1.1\r\n Host: x\r\n\r\n",
    "blank before colon": b"GET / HTTP/1.1\r\nHost : x\r\n\r\n",
    "no colon": b"GET / HTTP/1.1\r\nHost: x\r\nXyz\r\n\r\n",
    "no name": b"GET / HTTP/1.1\r\nHost: x\r\n: y\r\n\r\n",
    "NUL in a name": b"GET / HTTP/1.1\r\nHost: x\r\nX\0Y: z\r\n\r\n",
    "NUL in a value": b"GET / HTTP/1.1\r\nHost: x\r\nX: y\0z\r\n\r\n",
    "bell in a value": b"GET / HTTP/1.1\r\nHost: x\r\nX: y\x07z\r\n\r\n",
    "blank in a name": b"GET / HTTP/1.1\r\nHost: x\r\nX Y: z\r\n\r\n",
    "name in UTF-8": b"GET / HTTP/1.1\r\nHost: x\r\nX\xc3\xa9: z\r\n\r\n",
    "no host": b"GET / HTTP/1.1\r\n\r\n",
    "two hosts": b"GET / HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n",
    "host with blank": b"GET / HTTP/1.1\r\nHost: x y\r\n\r\n",
    "host with path": b"GET / HTTP/1.1\r\nHost: x/y\r\n\r\n",
    "host with user": b"GET / HTTP/1.1\r\nHost: u@x\r\n\r\n",
    "no version": b"GET /\r\n\r\n",
    "version 0.9": b"GET / HTTP/0.9\r\n\r\n",
    "version 2": b"GET / HTTP/2.0\r\nHost: x\r\n\r\n",
    "version 11": b"GET / HTTP/11\r\nHost: x\r\n\r\n",
    "version lower case": b"GET / http/1.1\r\nHost: x\r\n\r\n",
    "another protocol": b"GET / RTSP/1.0\r\nHost: x\r\n\r\n",
    "HTTP/2 preface": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00",
    "TLS hello": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(200),
    "SSH": b"SSH-2.0-OpenSSH_9.2p1\r\n",
    "SMB": b"\x00\x00\x00\x85\xffSMBr\x00\x00\x00\x00\x18\x53\xc8" + bytes(100),
    "zeros": bytes(1000),
    "noise": bytes(range(256)) * 8,
    "two blanks": b"GET  / HTTP/1.1\r\nHost: x\r\n\r\n",
    "tab for blank": b"GET\t/\tHTTP/1.1\r\nHost: x\r\n\r\n",
    "blank in the target": b"GET /a b HTTP/1.1\r\nHost: x\r\n\r\n",
    "no target": b"GET HTTP/1.1\r\nHost: x\r\n\r\n",
    "a fragment": b"GET /f#g HTTP/1.1\r\nHost: x\r\n\r\n",
    "a relative target": b"GET f HTTP/1.1\r\nHost: x\r\n\r\n",
    "control in the target": b"GET /\x01 HTTP/1.1\r\nHost: x\r\n\r\n",
    "DEL in the target": b"GET /\x7f HTTP/1.1\r\nHost: x\r\n\r\n",
    "a long target": head("GET", "/" + "a" * 70_000),
    "a long field": head("GET", "/", "X: " + "a" * 100_000),
    "many fields": head("GET", "/", *(f"X{number}: y" for number in range(20_000))),
    "a long method": head("A" * 10_000, "/"),
    "a long name": head("GET", "/", "X" * 100_000 + ": y"),
    "never ending first line": b"G" * 200_000,
    "empty lines": b"\r\n" * 20_000 + b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
    "bad upgrade": head("BREW", "/", "Connection: Upgrade", "Upgrade: h2c"),
}.items():
    REFUSED[name] = sent
for method in ("CONNECT", "TRACE", "FOO", "get", "M-SEARCH", "POST", "REPORT", "MKCALENDAR", "ACL", "SEARCH", "G\x00T", "LINK",
               "PURGE", "VERSION-CONTROL", "BIND", "PROPFIND2", "_", "!"):  # fmt: skip
    REFUSED[f"method {method!r}"] = head(method, "/secret-free" if method != "CONNECT" else "x:80")

# --- paths

_TRAVERSALS = (
    "/../outside", "/../../etc/passwd", "/%2e%2e/outside", "/.%2e/outside", "/%2E./outside", "/d/../../outside", "/..%2foutside",
    "/%2e%2e%2foutside", "/..%5coutside/../..", "/d/%2e%2e/%2e%2e/outside", "/%00", "/f%00.txt", "/%2f", "/a%2fb", "/%2fetc%2fpasswd",
    "/%zz", "/%", "/%1", "/%u0041", "/%c0%ae%c0%ae/outside", "/%ff", "/%ed%a0%80", "/%f8%88%80%80%80", "/%fe%ff", "/./f", "/d/.", "/%2e",
    "/link/inner", "/link", "/linked.txt", "/loop", "/loop/x", "/up/outside.txt",
    "http://x/../outside", "http://x/%2e%2e/outside", "http:///f", "ftp://x/f", "//../outside",
    "/" + "a" * 300, "/" + "/".join(["a" * 200] * 30), "/" + "a/" * 3000, "/%C3%28",
)  # fmt: skip
for target in _TRAVERSALS:
    for method in ("GET", "PROPFIND", "DELETE"):
        REFUSED[f"{method} {target[:40]}"] = head(method, target, "Depth: 0")
    REFUSED[f"PUT {target[:40]}"] = with_body("PUT", target + "/new", b"hostile")
for target in ("/-/", "/-/secret", "/-/../f", "/-/%2e%2e/f", "/-/api/../../f"):
    REFUSED[f"PUT reserved {target}"] = with_body("PUT", target, b"hostile")
for target in ("/.davserver~stage", "/.davserver~stage/x", "/.davserver~x", "/%2edavserver~stage/x"):
    for method in ("GET", "DELETE", "MKCOL"):
        REFUSED[f"{method} own {target}"] = head(method, target)
    REFUSED[f"PUT own {target}"] = with_body("PUT", target, b"hostile")
for destination in (
    "", " ", "/", "f2", "../outside", "/../outside", "/%2e%2e/outside", "/a%2f..%2foutside", "http://", "http://x", "http://y/f2",
    "http://x:81/f2", "file:///tmp/f2", "//y/f2", "/f2%00", "/%zz", "/link/f2", "/up/f2", "/.davserver~stage/f2",
    "/-/f2", "/missing/f2", "/keep.txt/f2", "http://x/f2 http://x/f3", "javascript:1", "http://[::1/f2", "/" + "a" * 300,
    "http://x@y/f2", "http://user:pw@y/f2",
):  # fmt: skip
    for method in ("MOVE", "COPY"):
        REFUSED[f"{method} to {destination[:30]!r}"] = head(method, "/keep.txt", f"Destination: {destination}")
REFUSED["MOVE to nowhere"] = head("MOVE", "/keep.txt")
REFUSED["MOVE to two"] = head("MOVE", "/keep.txt", "Destination: /a", "Destination: /b")
REFUSED["MOVE the root"] = head("MOVE", "/", "Destination: /r")
REFUSED["MOVE into itself"] = head("MOVE", "/d", "Destination: /d/e")
REFUSED["COPY onto itself"] = head("COPY", "/keep.txt", "Destination: /keep.txt")
REFUSED["DELETE the root"] = head("DELETE", "/")

# --- XML

_ENTITIES = "".join(f'<!ENTITY e{n} "{f"&e{n - 1};" * 10 if n else "x" * 100}">' for n in range(10))
_BILLION = (
    f'<?xml version="1.0"?><!DOCTYPE p [{_ENTITIES}]><D:propfind xmlns:D="DAV:"><D:prop>&e9;</D:prop></D:propfind>'
)
_XML = {
    "billion laughs": _BILLION,
    "quadratic": f'<!DOCTYPE p [<!ENTITY a "{"a" * 50_000}">]><propfind xmlns="DAV:"><prop>{"&a;" * 5_000}</prop></propfind>',
    "external entity": '<!DOCTYPE p [<!ENTITY a SYSTEM "file:///etc/passwd">]><propfind xmlns="DAV:"><prop>&a;</prop></propfind>',
    "external from the net": '<!DOCTYPE p SYSTEM "http://127.0.0.1:1/x.dtd"><propfind xmlns="DAV:"><allprop/></propfind>',
    "parameter entity": '<!DOCTYPE p [<!ENTITY % a SYSTEM "file:///etc/passwd">%a;]><propfind xmlns="DAV:"><allprop/></propfind>',
    "empty DTD": '<!DOCTYPE propfind><propfind xmlns="DAV:"><allprop/></propfind>',
    "unknown entity": '<propfind xmlns="DAV:"><prop>&who;</prop></propfind>',
    "deep": "<a>" * 100_000,
    "deep and whole": '<propfind xmlns="DAV:"><prop>' + "<a>" * 2000 + "</a>" * 2000 + "</prop></propfind>",
    "many attributes": "<propfind xmlns='DAV:' "
    + " ".join(f"a{n}='x'" for n in range(60_000))
    + "><allprop/></propfind>",
    "same attribute twice": '<propfind xmlns="DAV:" a="1" a="2"><allprop/></propfind>',
    "unclosed": '<propfind xmlns="DAV:">',
    "two roots": '<propfind xmlns="DAV:"><allprop/></propfind><propfind xmlns="DAV:"><allprop/></propfind>',
    "no prefix": "<D:propfind><D:allprop/></D:propfind>",
    "empty namespace": '<D:propfind xmlns:D=""><D:allprop/></D:propfind>',
    "xmlns bound": '<xmlns:propfind xmlns:xmlns="DAV:"><allprop/></xmlns:propfind>',
    "another root": '<lockinfo2 xmlns="DAV:"/>',
    "no XML": "hello",
    "JSON": '{"propfind": "allprop"}',
    "bad UTF-8": '<propfind xmlns="DAV:"><prop>\xff\xfe</prop></propfind>',
    "unknown encoding": '<?xml version="1.0" encoding="klingon"?><propfind xmlns="DAV:"><allprop/></propfind>',
    "NUL": '<propfind xmlns="DAV:"><allprop/>\x00</propfind>',
    "control": '<propfind xmlns="DAV:"><prop>\x01</prop></propfind>',
    "control by number": '<propfind xmlns="DAV:"><prop>&#1;</prop></propfind>',
    "large": '<propfind xmlns="DAV:"><!--' + "x" * 2_000_000 + "--></propfind>",
}
for name, text in _XML.items():
    for method in ("PROPFIND", "PROPPATCH", "LOCK"):
        REFUSED[f"XML {name} to {method}"] = with_body(
            method, "/keep.txt", text.encode("latin-1"), "Content-Type: application/xml", "Depth: 0"
        )
_LOCK = '<lockinfo xmlns="DAV:">{}</lockinfo>'
_EXCLUSIVE, _WRITE = "<lockscope><exclusive/></lockscope>", "<locktype><write/></locktype>"
for name, inner in {
    "no scope": _WRITE,
    "no type": _EXCLUSIVE,
    "nothing": "",
    "both scopes": "<lockscope><exclusive/><shared/></lockscope>" + _WRITE,
    "another scope": "<lockscope><mine/></lockscope>" + _WRITE,
    "another type": _EXCLUSIVE + "<locktype><read/></locktype>",
    "large owner": _EXCLUSIVE + _WRITE + "<owner>" + "x" * 200_000 + "</owner>",
}.items():
    REFUSED[f"LOCK with {name}"] = with_body("LOCK", "/keep.txt", _LOCK.format(inner).encode())
for name, inner in {
    "getetag": "<getetag>x</getetag>",
    "resourcetype": "<resourcetype><collection/></resourcetype>",
    "large value": "<x>" + "y" * 200_000 + "</x>",
}.items():
    HARMLESS[f"PROPPATCH {name}"] = with_body(
        "PROPPATCH",
        "/keep.txt",
        f'<propertyupdate xmlns="DAV:"><set><prop>{inner}</prop></set></propertyupdate>'.encode(),
    )

# --- fields that mean something

for depth in ("2", "-1", "infinite", "0,1", "1 1", "", "0x0", "infinity, 0"):
    REFUSED[f"depth {depth!r}"] = head("PROPFIND", "/", f"Depth: {depth}")
    REFUSED[f"depth {depth!r} of COPY"] = head("COPY", "/d", f"Depth: {depth}", "Destination: /hostile-d")
REFUSED["depth twice"] = head("PROPFIND", "/", "Depth: 0", "Depth: 1")
REFUSED["MOVE of a collection at depth 0"] = head("MOVE", "/d", "Depth: 0", "Destination: /hostile-d")
for overwrite in ("X", "TF", "true", "0", "T, F"):
    REFUSED[f"overwrite {overwrite!r}"] = head("COPY", "/keep.txt", f"Overwrite: {overwrite}", "Destination: /hostile")
for condition in (
    "<", "(", "()", "(<>)", "(<urn:x>", "<urn:x>)", "((<urn:x>))", "(<urn:x>))", "([)", '(["x)', '(["x"]', "(Not)", "(Not Not <urn:x>)",
    "<http://x/f>", "<http://x/f> ()", "(<urn:x>) <http://x/f>", "(<urn:x>) x", "x(<urn:x>)", "(urn:x)", "(<urn:x> <", '([W"x"])', "[]",
    "(<urn:x>)\x0b", "(" * 5000, "(<urn:x>)" * 5000 + "(", "(<" + "x" * 60_000 + ">", "", "Not <urn:x>",
    "(<urn:uuid:00000000-0000-0000-0000-000000000000>)", "(Not <DAV:no-lock>) (", "</%zz> (<urn:x>)", "</../f> (<urn:x>)",
):  # fmt: skip
    REFUSED[f"if {condition[:30]!r}"] = with_body("PUT", "/keep.txt", b"hostile", f"If: {condition}")
for value in ("x", '"x', 'x"', "W/x", '"a" "b"', "", ",", '*, "a"', 'w/"a"', '"a";"b"'):
    REFUSED[f"If-Match {value!r}"] = with_body("PUT", "/keep.txt", b"hostile", f"If-Match: {value}")
    # A member that is none matches nothing: Joplin sends such.
    HARMLESS[f"If-None-Match {value!r}"] = with_body("PUT", "/hostile-match", b"hostile", f"If-None-Match: {value}")
HARMLESS["version 1.2"] = b"GET / HTTP/1.2\r\nHost: x\r\n\r\n"
for value in ("yesterday", "Sat, 32 Foo 2026 25:61:61 GMT", "0", "-1", "9" * 40, "Sun, 06 Nov 99999 08:49:37 GMT"):
    HARMLESS[f"If-Modified-Since {value[:20]}"] = head("GET", "/keep.txt", f"If-Modified-Since: {value}")
    HARMLESS[f"If-Range {value[:20]}"] = head("GET", "/keep.txt", "Range: bytes=0-1", f"If-Range: {value}")
for value in (
    "bytes", "bytes=", "bytes=-", "bytes=a-b", "bytes=5-1", "bytes=--5", "items=0-1", "bytes=0-1,", "bytes=,", "bytes=0-" + "9" * 40,
    "bytes=" + "9" * 40 + "-", "bytes=-0", "bytes=0-0" + ",0-0" * 5000, "bytes=" + ",".join(f"{n}-" for n in range(1000)),
    "bytes = 0-1", "bytes=0 - 1", "bytes=0x0-0x1",
):  # fmt: skip
    HARMLESS[f"range {value[:30]!r}"] = head("GET", "/keep.txt", f"Range: {value}")
for value in ("bytes 0-4/10", "bytes */5", "bytes x", "items 0-4/5"):
    REFUSED[f"content-range {value}"] = with_body("PUT", "/keep.txt", b"hello", f"Content-Range: {value}")
for value in ("bytes=", "append, append", "bytes=5-1", "bytes=0-99", "", "x"):
    REFUSED[f"x-update-range {value!r}"] = with_body(
        "PATCH", "/keep.txt", b"hello", f"X-Update-Range: {value}", "Content-Type: application/x-sabredav-partialupdate"
    )
_LOCKING = _LOCK.format(_EXCLUSIVE + _WRITE).encode()
for value in (
    "Second-",
    "Second-x",
    "Minute-5",
    "Second--5",
    "Second-" + "9" * 40,
    "Infinite, Second-x",
    "",
    "Second-0",
):
    HARMLESS[f"timeout {value[:20]!r}"] = with_body("LOCK", "/hostile-timeout", _LOCKING, f"Timeout: {value}")
for value in (
    "",
    "<>",
    "urn:x",
    "<urn:x",
    "<urn:x> <urn:y>",
    "<" + "x" * 60_000 + ">",
    "<urn:uuid:00000000-0000-0000-0000-000000000000>",
):
    REFUSED[f"lock-token {value[:20]!r}"] = head("UNLOCK", "/keep.txt", f"Lock-Token: {value}")
for value in ("sha-256=:x:", "sha-256=x", "sha-256=:AAAA:", "=", "sha-256", "sha-256=:" + "A" * 50_000 + ":"):
    HARMLESS[f"content-digest {value[:20]}"] = with_body("PUT", "/hostile-digest", b"hello", f"Content-Digest: {value}")
HARMLESS["a wrong digest"] = with_body(
    "PUT", "/hostile-digest", b"hello", f"Content-Digest: sha-256=:{base64.b64encode(bytes(32)).decode()}:"
)
for value in ("x", "-1", "9" * 40, "nan", "1e400", ""):
    HARMLESS[f"x-oc-mtime {value[:20]!r}"] = with_body("PUT", "/hostile-mtime", b"hello", f"X-OC-Mtime: {value}")
for value in (
    "Basic", "Basic ", "Basic !!!", "Basic " + "A" * 50_000, "Basic " + base64.b64encode(b"nocolon").decode(), "Bearer", "Bearer x",
    "Basic " + base64.b64encode(b"\xff:\xfe").decode(), "Digest", "Digest username", 'Digest username="', "Negotiate AAAA", "\x80",
    "Basic " + base64.b64encode(b"a\0b:c").decode(), 'Digest username="a", realm="b", nonce="c", uri="d", response="e", qop=auth, nc=x',
):  # fmt: skip
    HARMLESS[f"authorization {value[:30]!r}"] = head("GET", "/keep.txt", f"Authorization: {value}")
for value in ("999", "x", "100-continue, x", "200-ok"):
    HARMLESS[f"expect {value}"] = with_body("PUT", "/hostile-expect", b"hello", f"Expect: {value}")
for value in ("q=", "*/*;q=x", "text/html;q=2", "," * 5000, "a/b;" + "c=d;" * 5000, "\xff"):
    HARMLESS[f"accept {value[:20]!r}"] = head("GET", "/", f"Accept: {value}", f"Accept-Encoding: {value}")
for value in ("gzip;q=0, *;q=0", "gzip;q=", "x" * 10_000):
    HARMLESS[f"accept-encoding {value[:20]!r}"] = head("PROPFIND", "/", "Depth: 1", f"Accept-Encoding: {value}")
for name in ("X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Proto", "Forwarded", "X-Real-IP", "Proxy", "X-HTTP-Method-Override",
             "X-Original-URL", "Transaction-Id", "Origin", "Cookie", "Via", "Max-Forwards", "Upgrade", "HTTP2-Settings", "TE", "Trailer",
             "Content-Encoding", "Content-Type", "User-Agent", "Translate", "Prefer", "Brief", "OC-Checksum", "Want-Digest"):  # fmt: skip
    HARMLESS[f"{name} odd"] = head("PROPFIND", "/keep.txt", "Depth: 0", f"{name}: ../../\"'<%00>&\xff\t" + "z" * 2000)
