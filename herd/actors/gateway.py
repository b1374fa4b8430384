"""The Gateway: the protocol actor that terminates HTTP."""

from herd.actors.ports import Handler, HttpServer


class Gateway:
    """Owns the HTTP listener. Requests run in the listener's own tasks: no byte of theirs enters a mailbox, and a crash
    of this actor is nothing to them. The listener goes on, and its next incarnation has it too.

    Args:
        server: the listener.
        handler: answers the requests.
    """

    def __init__(self, server: HttpServer, handler: Handler) -> None:
        self._server = server
        self._handler = handler

    async def listen(self) -> None:
        """Begin; not in `on_start`, for a taken port is the person's to mend, and no crash of this actor.

        Raises:
            ConfigError: the address cannot be had.
        """
        await self._server.start(self._handler)

    async def on_stop(self) -> None:
        """Take nothing new, let running requests end, close."""
        await self._server.stop()
