"""``python -m tests.worker.tls_proxy PORT TARGET_PORT CA CERTIFICATE KEY``: takes TLS off before Redis.

So do stunnel and managed services. It wants to see a certificate by the authority CA.
"""

import asyncio
import ssl
import sys
from contextlib import suppress


async def serve(port, target_port, tls):
    async def pass_on(reader, writer):
        redis_reader, redis_writer = await asyncio.open_connection("127.0.0.1", target_port)
        await asyncio.gather(copy(reader, redis_writer), copy(redis_reader, writer))

    async with await asyncio.start_server(pass_on, "127.0.0.1", port, ssl=tls) as server:
        await server.serve_forever()


async def copy(reader, writer):
    with suppress(OSError):
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    writer.close()


if __name__ == "__main__":
    port, target_port, authority, certificate, key = sys.argv[1:]
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=authority)
    tls.verify_mode = ssl.CERT_REQUIRED
    tls.load_cert_chain(certificate, key)
    asyncio.run(serve(int(port), int(target_port), tls))
