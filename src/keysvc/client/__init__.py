"""The client of keysvc, for Python programs: sync and asyncio.

Knows the contract's messages and gRPC, and nothing of the service.
"""
