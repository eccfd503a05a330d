"""The token: module, sessions, keyring, wrapping, MACs and ciphers.

The only layer that imports pkcs11. Knows keys and bytes; knows no merchant, no SQL and no gRPC.
"""
