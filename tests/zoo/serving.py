"""A server on this machine that behaves as a test wants it to, and files for it to serve."""

import contextlib
import hashlib
import http.server
import threading

from keras_gappos.zoo import ZooFile


def zoo_file(content, path="net.digits/model.weights.h5"):
    """The `ZooFile` of some bytes."""
    return ZooFile(path, len(content), hashlib.sha256(content).hexdigest())


class LocalServer:
    """Runs on a free port of this machine while it is entered.

    Args:
        handler: the class that answers requests.
    """

    def __init__(self, handler):
        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}/"

    def __enter__(self):
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(self, *_):
        self._server.shutdown()
        self._server.server_close()


class Server(LocalServer):
    """Serves one content, as its `behavior` says; counts the requests.

    Args:
        content: bytes of every file.
        behavior: "good", "cut", "wrong_bytes", "too_long", "error_then_good", "error", "missing",
            "redirect_for_ever", "redirect_once", "redirect_with_much", "other_scheme",
            "other_host", "hang", or "slow".
    """

    def __init__(self, content, behavior="good"):
        self.content, self.behavior, self.requests = content, behavior, 0
        self.sent = 0  # bytes, beside a redirect
        server = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                server.requests += 1
                with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                    getattr(server, f"_{server.behavior}")(self)

            def log_message(self, *_):
                pass

        super().__init__(Handler)

    def _answer(self, handler, content, length=None):
        handler.send_response(200)
        handler.send_header("Content-Length", str(len(content) if length is None else length))
        handler.end_headers()
        handler.wfile.write(content)

    def _redirect(self, handler, place):
        handler.send_response(302)
        handler.send_header("Location", place)
        handler.send_header("Content-Length", "0")
        handler.end_headers()

    def _good(self, handler):
        self._answer(handler, self.content)

    def _cut(self, handler):
        self._answer(handler, self.content[: len(self.content) // 2], len(self.content))

    def _wrong_bytes(self, handler):
        self._answer(handler, bytes(len(self.content)))

    def _too_long(self, handler):
        self._answer(handler, self.content + b"more")

    def _error(self, handler):
        handler.send_error(500)

    def _missing(self, handler):
        handler.send_error(404)

    def _error_then_good(self, handler):
        (self._error if self.requests == 1 else self._good)(handler)

    def _redirect_for_ever(self, handler):
        self._redirect(handler, handler.path)

    def _redirect_once(self, handler):
        if handler.path.endswith("elsewhere"):
            self._good(handler)
        else:
            self._redirect(handler, "/elsewhere")

    def _redirect_with_much(self, handler):
        if handler.path.endswith("elsewhere"):
            self._good(handler)
            return
        handler.send_response(302)
        handler.send_header("Location", "/elsewhere")
        handler.send_header("Content-Length", str(400_000_000))
        handler.end_headers()
        for _ in range(400):
            handler.wfile.write(bytes(1_000_000))
            self.sent += 1_000_000

    def _other_scheme(self, handler):
        self._redirect(handler, "https://127.0.0.1/elsewhere")

    def _other_host(self, handler):
        self._redirect(handler, "http://192.0.2.1/elsewhere")

    def _hang(self, handler):
        threading.Event().wait(20)  # no `time.sleep`, which tests shorten

    def _slow(self, handler):
        handler.send_response(200)
        handler.send_header("Content-Length", str(len(self.content)))
        handler.end_headers()
        for byte in self.content:
            handler.wfile.write(bytes([byte]))
            handler.wfile.flush()
            threading.Event().wait(0.05)
