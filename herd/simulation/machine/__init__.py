"""What a machine is: its figures, the models on it, who owns it, and how long work takes.

In reading order:

    catalog     models: what their files weigh, and what they cost to hold and to run
    pace        a machine's figures, and the seconds that follow from them
    profiles    kinds of machines, with the sources of their figures
    owners      what people do with their machines, and what that leaves to models
"""
