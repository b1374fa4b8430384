"""What is asked of a fleet, when and by whom: generated from a seed, read from a trace, or as a router was asked.

In reading order:

    requests                one request as a value, and the body that it stands for
    arrivals, lengths       when things begin, and how long prompts and answers are
    clients                 who asks, for which model, in which conversation
    generator               a household's requests from a seed
    trace_files, traces     the files of public traces, and their rows put on a small fleet
    history                 what a router was asked, as rows of the same kind
"""
