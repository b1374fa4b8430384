"""A fake Ollama: its language, its scheduler, and the time that work takes.

In reading order:

    scheduler                   who runs, loads and goes: decisions alone, without a clock
    engine, prefix_cache        the decisions carried out in the loop's time; what slots remember of prompts
    golang, references          how a Go server reads and writes; names of models
    asks/                       bodies of requests, understood or refused
    language, voices/           what a model says, and how each API writes that down
    inference, embeddings       one request from what was asked to the bytes of its answer
    library, registry, blobs    the models on the disk, those to be had, and what they are made of
    manage                      pull, push, create, copy and delete
    pages, front                whole answers; redirects, and the checks of `Origin` and `Host`
    faults                      what can go wrong
    server                      all of it together: `FakeOllama`
"""
