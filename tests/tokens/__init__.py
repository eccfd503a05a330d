"""The tests of the token on another than SoftHSM."""
