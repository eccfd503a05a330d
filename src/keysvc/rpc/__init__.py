"""gRPC: servicers, the gate before them, health and the server. The only layer that knows gRPC.

A servicer parses, makes one call of a service, and converts. It is given the `Caller` where gRPC
passes its context, and raises keysvc's errors; the gate turns both.
"""
