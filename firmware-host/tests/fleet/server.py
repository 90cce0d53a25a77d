"""gooseBit, a real server of hawkBit's DDI, on a free loopback port.

usage: server.py FOLDER HH:MM:SS   (folder for its database and files; interval of the boxes' polls)
Writes the port to FOLDER/port once it listens.
"""

import asyncio
import os
import socket
import sys

folder, poll = sys.argv[1:]
os.chdir(folder)
os.environ.update(
    GOOSEBIT_DB_URI=f"sqlite://{folder}/db.sqlite3",
    GOOSEBIT_ARTIFACTS_DIR=f"{folder}/artifacts",
    GOOSEBIT_POLL_TIME=poll,
    GOOSEBIT_SECRET_KEY="c29tZXNlY3JldGtleWZvcnRlc3Rpbmdvbmx5MTIzNDU2Nzg5MA",
)

import uvicorn  # noqa: E402  (the settings are read on import)
from goosebit import app  # noqa: E402
from goosebit.db.config import TORTOISE_CONF  # noqa: E402
from tortoise import Tortoise  # noqa: E402


async def make_tables():
    await Tortoise.init(config=TORTOISE_CONF)
    await Tortoise.generate_schemas(safe=True)
    await Tortoise.close_connections()


asyncio.run(make_tables())
listener = socket.create_server(("127.0.0.1", 0), backlog=1024)
with open("port.part", "w") as port:
    port.write(str(listener.getsockname()[1]))
os.rename("port.part", "port")
server = uvicorn.Server(uvicorn.Config(app, access_log=False, log_level="warning", log_config=None))
server.run(sockets=[listener])
