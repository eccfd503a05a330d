"""Webhook signature schemes: from a request to what is signed, the signatures found and the time; and back to headers.

Pure functions. Knows no key, no merchant, no token, no SQL and no gRPC.
"""
