"""A TCP proxy before Redis whose connections can be made to hang: open, and silent."""

import socket
import threading
from contextlib import closing, suppress


class StallingProxy:
    """``url`` leads to the Redis behind it.

    After ``stall(word)`` nothing comes back any more over connections that ever sent ``word``.
    """

    def __init__(self, redis_url):
        host, _, port = redis_url.removeprefix("redis://").partition("/")[0].partition(":")
        self._target = (host, int(port))
        self._stalled = None
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"redis://127.0.0.1:{self._listener.getsockname()[1]}/0"
        threading.Thread(target=self._accept, daemon=True).start()

    def stall(self, word):
        self._stalled = word

    def close(self):
        self._listener.close()

    def _accept(self):
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                server = socket.create_connection(self._target)
                sent = bytearray()
                threading.Thread(target=self._send, args=(client, server, sent), daemon=True).start()
                threading.Thread(target=self._answer, args=(server, client, sent), daemon=True).start()

    def _send(self, client, server, sent):
        with closing(client), closing(server), suppress(OSError):
            while data := client.recv(65536):
                if self._stalled is None:
                    sent += data
                server.sendall(data)

    def _answer(self, server, client, sent):
        with closing(client), closing(server), suppress(OSError):
            while data := server.recv(65536):
                if self._stalled is None or self._stalled not in sent:
                    client.sendall(data)
