"""The actors: state and a mailbox each. They decide by asking policy, and speak by messages."""
