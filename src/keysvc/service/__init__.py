"""The use cases, over the token and the store: life cycle, verification, access, merchants, usage.

Imports hsm, store and model; knows neither gRPC nor protobuf, neither SQL nor PKCS#11.
"""
