"""The benchmarks behind `make bench`: what keysvc costs beside a bare server and a bare token, on this machine."""
