"""Ollama's API, Anthropic's messages and OpenAI's responses in front of model servers that have OpenAI's chats alone:
requests translated on the way in, answers on the way out.

    fields                   bodies read, Ollama's as strictly as Ollama reads them; and written
    options, messages        their parts in OpenAI's words, and in each server's own beyond those
    asking                   a whole request -> the request that the server gets (wanted); asking_messages,
                             asking_responses
    sse, answers, refusals,  what the server says, read
      thoughts
    errands                  what a request without a prompt has done
    speaking                 the same in the client's words; speaking_messages, speaking_responses
    edits                    a picture that is to be changed, in a form, as JSON
    images, pictures         what is asked of a server of images, and the picture out of what it answers
    standin                  all of it together: bytes in, bytes out

Without sockets and clocks: bytes may be cut anywhere, and times come in as values.
"""

from herd.protocols.translation.speaking import Now
from herd.protocols.translation.standin import MAX_ANSWER, StandIn, standin

__all__ = ["MAX_ANSWER", "Now", "StandIn", "standin"]
