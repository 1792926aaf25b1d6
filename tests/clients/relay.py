"""A plain TCP relay that counts connections: clients that keep theirs alive need few."""

import socket
import threading
from contextlib import contextmanager, suppress


class Relay:
    """Passes bytes between its own port and another one of this machine."""

    def __init__(self, port):
        self.connections = 0
        self._target = ("127.0.0.1", port)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self):
        self._listener.shutdown(socket.SHUT_RDWR)  # ends the thread that waits in accept

    def _accept(self):
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                self._listener.close()
                return
            self.connections += 1
            threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client):
        with client, socket.create_connection(self._target) as server:
            back = threading.Thread(target=_pour, args=(server, client), daemon=True)
            back.start()
            _pour(client, server)
            back.join()


def _pour(source, sink):
    """All bytes of ``source``, then its end."""
    with suppress(OSError):
        while piece := source.recv(65536):
            sink.sendall(piece)
    with suppress(OSError):
        sink.shutdown(socket.SHUT_WR)


@contextmanager
def running_relay(port):
    relay = Relay(port)
    try:
        yield relay
    finally:
        relay.close()
